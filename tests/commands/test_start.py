"""Ctrl-C or SIGTERM while the command line is imported, or tidies up: one word, no traceback."""

import subprocess
import sys

import pytest

# A finder of modules that presses Ctrl-C when one of them is asked for.
PRESSED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["clusterkit", "--version"]
from clusterkit.__main__ import main
main()
"""
AT_THE_END = """
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv = ["clusterkit", "--version"]
from clusterkit.__main__ import main
main()
"""


def ended(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["clusterkit.cli", "click", "clusterkit.config", "tomllib"])
def test_ctrl_c_while_modules_are_imported(name):
    assert ended(PRESSED.format(name=name)) == (130, "interrupted\n")


def test_ctrl_c_while_python_tidies_up():
    assert ended(AT_THE_END) == (130, "interrupted\n")


def test_what_runs_in_the_background_is_not_stopped_by_it():
    ignored = PRESSED.format(name="click").replace("signal.default_int_handler", "signal.SIG_IGN")
    assert ended(ignored) == (0, "")


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "clusterkit", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("clusterkit")


def test_sigterm_while_modules_are_imported():
    # At once, as Slurm and Kubernetes may end what has only just begun.
    code = PRESSED.format(name="click").replace("os.getpid(), signal.SIGINT", "os.getpid(), 15")
    assert ended(code) == (143, "terminated\n")
    assert ended(code.replace("signal.default_int_handler", "signal.SIG_IGN")) == (
        143,
        "terminated\n",
    )


def test_sigterm_that_is_ignored_stays_so():
    code = PRESSED.format(name="click").replace("os.getpid(), signal.SIGINT", "os.getpid(), 15")
    assert ended("import signal; signal.signal(15, signal.SIG_IGN)\n" + code) == (0, "")
