"""Locks: of drives that have them, and of those that have none."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest
from filelock import Timeout

from clusterkit.errors import RunError
from clusterkit.formats.locking import acquire, locked
from clusterkit.inference.journal import Journal

fcntl = pytest.importorskip("fcntl")

# Takes the lock of a drive that has none, and dies with it.
TAKE = """
    import errno, fcntl, os, sys
    from pathlib import Path

    def flock(*_):
        raise OSError(int(sys.argv[2]), "no locks here")

    fcntl.flock = flock
    from clusterkit.formats.locking import acquire

    lock = acquire(Path(sys.argv[1]), timeout=0)
    print("taken", flush=True)
    sys.stdin.readline()
    os._exit(0)
"""


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def without_locks(request, monkeypatch) -> int:
    number = getattr(errno, request.param)

    def flock(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    return number


def holder(tmp_path, path, number: int) -> subprocess.Popen:
    script = tmp_path.parent / "take.py"
    script.write_text(textwrap.dedent(TAKE))
    process = subprocess.Popen([sys.executable, "-W", "ignore", script, path, str(number)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == b"taken\n"
    return process


@pytest.mark.filterwarnings("ignore")
def test_a_drive_without_locks_is_not_taken_for_one_that_is_locked(tmp_path, without_locks):
    with locked(tmp_path / "a.csv"), pytest.raises(Timeout):
        acquire(tmp_path / ".a.csv.lock", timeout=0)
    assert os.listdir(tmp_path) == []
    journal = Journal(tmp_path / "b.csv", {"run": 1}, fresh=False)
    with pytest.raises(RunError, match="another clusterkit is writing"):
        Journal(tmp_path / "b.csv", {"run": 1}, fresh=False)
    journal.close()
    Journal(tmp_path / "b.csv", {"run": 1}, fresh=False).close()


@pytest.mark.filterwarnings("ignore")
def test_the_lock_of_a_process_that_is_gone_is_nobodys(tmp_path, without_locks):
    process = holder(tmp_path, tmp_path / "lock", without_locks)
    with pytest.raises(Timeout):
        acquire(tmp_path / "lock", timeout=0)
    process.communicate(b"\n")
    acquire(tmp_path / "lock", timeout=5).release()


def test_other_errors_are_not_about_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"):
        acquire(tmp_path / "lock", timeout=0)
