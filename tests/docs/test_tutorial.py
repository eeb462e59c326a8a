"""The commands of the tutorial, run in order as they are written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("demo.md", "own-images.md", "certify.md")

# The same commands, with a demo of few pictures and settings that take seconds: heads on random
# features.
SETTINGS = """
[image]
size = 48
[model]
backbone = "squeezenet1_1"
weights = "none"
[train]
strategy = "head"
siamese_epochs = 4
folds = 3
[audit]
limit = 8
"""
# What is made smaller is imported only by the commands that use it: the others start as they do.
COMMAND = """
import functools, sys, tomllib
from clusterkit.cli import main
if sys.argv[1] in ("audit", "demo"):
    import clusterkit.auditing.audit, clusterkit.demo
    clusterkit.auditing.audit.CHECKED_CARDS = 4
    clusterkit.demo.DEMO.update(tomllib.loads({settings!r}))
    clusterkit.demo.make_sample = functools.partial(
        clusterkit.demo.make_sample, size=48, labeled_patients=9, unlabeled_patients=3,
        labeled_per_class=2, unlabeled_per_class=3, novel_per_patient=2,
    )
sys.argv[0] = "clusterkit"
main()
"""


def shell_blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / "tutorial" / page).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)


def test_tutorial_has_commands_for_every_step():
    text = "\n".join(block for page in PAGES for block in shell_blocks(page))
    for command in ("demo", "inspect", "fit", "assign", "audit", "similar", "review", "export",
                    "certify"):  # fmt: skip
        assert re.search(rf"^clusterkit {command}\b", text, re.M), command


@pytest.mark.slow
def test_tutorial_commands_run_in_order(tmp_path):
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    (programs / "command.py").write_text(COMMAND.format(settings=SETTINGS))
    for name, arguments in (
        ("clusterkit", f'"{programs / "command.py"}" "$@"'),
        ("python", '"$@"'),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    for block in (block for page in PAGES for block in shell_blocks(page)):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=work,
                              env=environment, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        if (work / "work").is_dir():
            # Read by every command that is given in this folder.
            (work / "work" / "clusterkit.toml").write_text(SETTINGS)
    own = work / "work"
    for name in ("check/index.html", "runs/first/audit/index.html", "why.png",
                 "runs/second/export/folders/index.csv"):  # fmt: skip
        assert (own / name).is_file(), name
    assert "rosette" in (own / "runs/second/assignments.csv").read_text(encoding="utf-8")
