"""A disk that is full or errs at any call, and a kill there: nothing is lost, and one line is said.

A seeded part of `benchmarks.faults`.
"""

import os
import random
import subprocess
import sys
from itertools import pairwise

import pytest

from benchmarks import faults
from benchmarks.faulty_disk import FAULTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

# In a process of its own: one with threads, as that of the tests, cannot be forked safely.
TRIALS = """
import json, random, sys
from pathlib import Path
from benchmarks import faults
root, command, seed, count = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3], int(sys.argv[4])
faults.prepare(root)
scene = faults.Scene(root, command)
rng = random.Random(seed)
rows = [scene.trial(rng.randint(1, len(scene.calls)), rng.choice(faults.FAULTS))
        for _ in range(count)]
print(json.dumps([r for r in rows if r["wrong"]], indent=1))
sys.exit(any(r["wrong"] for r in rows))
"""


@pytest.mark.long
@pytest.mark.parametrize("command", ["fit", "assign", "certificate", "review"])
def test_a_fault_at_any_call_is_one_line_and_the_rerun_gives_the_undisturbed_bytes(
    tmp_path, command
):
    arguments = [sys.executable, "-c", TRIALS, str(tmp_path), command, "7", "4"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.long] * (f == "EIO")) for f in FAULTS]
)
def test_the_disk_fails_at_the_call_that_was_asked_for(tmp_path, fault):
    code = (
        "import sys; from pathlib import Path; from benchmarks.faulty_disk import FaultyDisk\n"
        "folder = Path(sys.argv[1]); disk = FaultyDisk(folder, 2, sys.argv[2]); disk.install()\n"
        "try:\n    (folder / 'a').write_text('abcd')\n"
        "except OSError as error:\n    print(error.errno, error.filename, disk.log)\n"
    )
    call = [sys.executable, "-c", code, str(tmp_path), fault]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    if fault == "kill":
        assert done.returncode == -9
        assert (tmp_path / "a").read_text() == ""
    else:
        number = {"ENOSPC": 28, "EIO": 5}[fault]
        assert done.stdout.startswith(f"{number} None ['open a', 'write a'")
        # Half of it is on the disk, as when it is full.
        assert (tmp_path / "a").read_text().startswith("ab")


def test_what_changed_between_two_folders_is_named(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "r.json").write_text('{"created": "2026-01-01T00:00:00+00:00",\n "seconds": 1.5}')
    before = faults.contents(tmp_path)
    (tmp_path / "r.json").write_text('{"created": "2026-02-02T00:00:00+00:00",\n "seconds": 2.5}')
    assert faults.changed(before, faults.contents(tmp_path)) == []
    (tmp_path / "a").write_text("2")
    (tmp_path / "new").mkdir()
    assert faults.changed(before, faults.contents(tmp_path)) == ["~a", "+new/"]


def test_every_nth_call_is_chosen_from_a_seeded_first():
    found = faults.chosen(10, 4, random.Random(3))
    assert found == faults.chosen(10, 4, random.Random(3))
    assert {b - a for a, b in pairwise(found)} == {4}
    assert faults.chosen(3, 1, random.Random(0)) == [1, 2, 3]
