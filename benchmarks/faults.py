"""A disk that fails at each call in turn, and a kill there: is anything lost, and what is said?

Each command runs on a small sample in a process of its own, and the n-th call that opens for
writing, writes, fsyncs, renames, makes or deletes something fails: the disk is full from then on
(ENOSPC), it errs once (EIO), or the process is killed. Then the same command is given again on a
sound disk. It must have been one line, no other file may have changed, and what is there in the
end must have the bytes of an undisturbed command, but for times; nothing else may be left.

    python -m benchmarks.faults --every 1 --out faults.json
    python -m benchmarks.faults --commands fit assign --errors kill --every 5 --seed 1
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.faulty_disk import FAULTS, FaultyDisk

# A small network of random weights, and heads only: every step of the path in a second.
SETTINGS = """device = "cpu"
[image]
size = 32
[model]
backbone = "squeezenet1_1"
weights = "none"
[train]
strategy = "head"
siamese_epochs = 2
folds = 2
[assign]
max_error = 0.4
batch_size = 16
workers = 0
[audit]
limit = 3
"""

# What each command is called with, and the ones whose work it goes on from.
COMMANDS = {
    "fit": ("fit data/labels.csv --run case/run --config config.toml", ()),
    "assign": ("assign data/unlabeled.csv --run case/run", ("fit",)),
    "certify": ("certify --run case/run", ("fit", "assign")),
    "certificate": (
        "certify --run case/run --reviews case/reviews.csv", ("fit", "assign", "certify"),
    ),
    "audit": ("audit --run case/run", ("fit", "assign")),
    "export": ("export --run case/run --to folders --copy", ("fit", "assign")),
    "coco": ("export --run case/run --to coco --out case/coco", ("fit", "assign")),
    "review": ("review case/reviews.csv --run case/run --out case/checked.csv", ("fit", "assign")),
}  # fmt: skip

# Times, what was resumed, and a run's random id differ between two undisturbed commands.
_TIMES = re.compile(
    rb'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^"<\s]*'
    rb'|("(?:seconds|images_per_second|resumed_batches)": )[\d.e-]+|^( "id": )"[0-9a-f]{16}"', re.M
)  # fmt: skip

# Seconds: whoever gives a command again does so later than what counts as just being written.
_LATER = 7200


class Ended(NamedTuple):
    """How a command ended: its exit code (-9: killed), what it said, and the calls it made."""

    code: int
    said: str
    calls: list[str]


def call(folder: Path, line: str, at: int = 0, fault: str = "EIO") -> Ended:
    """Run a command in a child of this process, on a disk that fails at a call of `case/`."""
    report = folder / "report"
    report.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _run(folder, line, at, fault, report)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = (folder / "said").read_text(errors="replace")
    return Ended(code, said, json.loads(report.read_text()) if report.exists() else [])


def _run(folder: Path, line: str, at: int, fault: str, report: Path) -> None:
    code = 70
    try:
        os.chdir(folder)
        os.environ["CLUSTERKIT_KEY_FILE"] = str(folder / "patient.key")
        handle = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(handle, standard)
        from clusterkit.cli import run_command

        disk = FaultyDisk(folder / "case", at, fault)
        disk.install()
        code = run_command(line.split())
        sys.stdout.flush()
        sys.stderr.flush()
        disk.at = 0
        report.write_text(json.dumps(disk.log))
    finally:
        os._exit(code)


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of each file in a folder, times left out, and of each folder its name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            found[name + "/"] = ""
        elif path.suffix in (".json", ".html", ".csv", ".js"):
            found[name] = hashlib.sha256(_TIMES.sub(rb"\1\2T", path.read_bytes())).hexdigest()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return what is in only one of two folders, or differs."""
    return [f"{'-' if n not in after else '+' if n not in before else '~'}{n}"
            for n in sorted({*before, *after}) if before.get(n) != after.get(n)]  # fmt: skip


class Scene:
    """A command, the folder before it, and what an undisturbed call makes of that.

    Parameters
    ----------
    root : Path
        Has ``data/`` and ``config.toml``, see `prepare`.
    command : str
        One of `COMMANDS`.
    """

    def __init__(self, root: Path, command: str) -> None:
        self.root, self.case = root, root / "case"
        self.start = root / f"before-{command}"
        self.command, (self.line, earlier) = command, COMMANDS[command]
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir()
        (self.case / "notes.txt").write_text("somebody's\n")
        for name in earlier:
            self._undisturbed(COMMANDS[name][0])
        if command in ("certificate", "review"):
            _answer(self.case)
        if earlier:
            (self.case / "run" / "notes.txt").write_text("somebody's\n")
        shutil.copytree(self.case, self.start)
        self.before = contents(self.case)
        self.calls = self._undisturbed(self.line).calls
        self.after = contents(self.case)
        self.reset()
        again = self._undisturbed(self.line)
        steady = changed(self.after, contents(self.case))
        if steady or len(again.calls) != len(self.calls):
            raise SystemExit(f"{command}: two undisturbed ones differ: {steady}, "
                             f"{len(self.calls)} and {len(again.calls)} calls")  # fmt: skip

    def reset(self) -> None:
        """Put the folder as it was before the command."""
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self.start, self.case)

    def trial(self, at: int, fault: str) -> dict:
        """Let a call fail, give the command again, and return a row of what became of it."""
        self.reset()
        ended = call(self.root, self.line, at, fault)
        middle = contents(self.case)
        again = None
        if ended.code or changed(self.after, middle):
            _let_time_pass(self.case, self.before)
            again = call(self.root, self.line)
        if again and again.code and changed(self.after, contents(self.case)):
            again = self._after_done(again)
        end = contents(self.case)
        wrong = [*self._said_wrong(ended, fault), *self._lost(middle)]
        if different := changed(self.after, end):
            wrong.append(f"the end differs: {different[:6]}")
        if again and again.code and changed(self.after, end):
            wrong.append(f"again: {again.said[-300:]!r}")
        elif again and "Traceback" in again.said:
            wrong.append("again: a traceback")
        return {"command": self.command, "fault": fault, "at": at, "of": len(self.calls),
                "call": self.calls[at - 1], "exit": ended.code,
                "said": "" if fault == "kill" else _last(ended.said),
                "wrong": wrong}  # fmt: skip

    def _said_wrong(self, ended: Ended, fault: str) -> list[str]:
        if "Traceback" in ended.said:
            return [f"traceback: {ended.said[-400:]}"]
        if fault == "kill":
            return [] if ended.code == -9 else [f"exit {ended.code}, not killed"]
        if not ended.code:
            # What failed was of no use to the result, as a journal or deleting it.
            return []
        lines = [s for s in ended.said.splitlines() if s.startswith("error:")]
        own = len(lines) == 1 and ended.code == 1 and "-v -v shows" not in lines[0]
        return [] if own else [f"no line of ours: exit {ended.code}: {ended.said[-300:]!r}"]

    def _lost(self, middle: dict[str, str]) -> list[str]:
        """Return what the fault changed that the command does not write."""
        lost = [name for name, digest in self.before.items()
                if middle.get(name) not in (digest, self.after.get(name))]  # fmt: skip
        return [f"lost or changed: {lost[:6]}"] if lost else []

    def _after_done(self, again: Ended) -> Ended:
        """What a fit left that was done when it was killed goes with the next one beside it."""
        if self.command != "fit":
            return again
        again = call(self.root, self.line.replace("case/run", "case/next"))
        shutil.rmtree(self.case / "next", ignore_errors=True)
        return again

    def _undisturbed(self, line: str) -> Ended:
        ended = call(self.root, line)
        if ended.code:
            raise SystemExit(f"{line}: {ended.said}")
        return ended


def _last(said: str) -> str:
    return next((s for s in reversed(said.splitlines()) if s.startswith("error:")), "")[:200]


def _let_time_pass(folder: Path, before: dict[str, str]) -> None:
    then = time.time() - _LATER
    for path in folder.rglob("*"):
        if path.relative_to(folder).as_posix() not in before and path.is_file():
            os.utime(path, (then, then))


def _answer(case: Path) -> None:
    """Answer each image with the label that was set, and every fourth with another."""
    import pandas as pd

    from clusterkit.formats.assignments import read_assignments

    table = read_assignments(case / "run" / "assignments.csv")
    sample = case / "run" / "certify" / "sample.csv"
    known = sorted(set(table["predicted_label"].dropna()) - {""})
    rows = table[table["status"].isin(["assigned", "review", "novel"])]
    if sample.exists():
        asked = pd.read_csv(sample, dtype=str)["image_id"]
        rows = rows[rows["image_id"].isin(asked)]
    answers = [
        {"image_id": row.image_id, "label": known[n // 4 % len(known)] if n % 4 == 0
         else row.predicted_label, "decision": "relabel", "reviewer": "Dr A", "note": ""}
        for n, row in enumerate(rows.itertuples())
    ]  # fmt: skip
    pd.DataFrame(answers).to_csv(case / "reviews.csv", index=False)


def prepare(root: Path) -> None:
    """Draw the sample and write the settings."""
    import torch

    import clusterkit
    from clusterkit.sample import make_sample

    # Whatever a command would import by itself, once for all of them.
    for name in clusterkit.__all__:
        getattr(clusterkit, name)
    # A process that has threads cannot be forked safely.
    torch.set_num_threads(1)
    make_sample(root / "data", seed=3, size=32, labeled_patients=9, unlabeled_patients=3,
                labeled_per_class=2, unlabeled_per_class=3, novel_per_patient=2)  # fmt: skip
    (root / "config.toml").write_text(SETTINGS)
    (root / "patient.key").write_text("a key that only this benchmark knows\n")


def chosen(calls: int, every: int, rng: random.Random) -> list[int]:
    """Return every so many calls, from a random one of the first."""
    return list(range(rng.randint(1, min(every, calls)), calls + 1, every))


def main() -> None:
    """Print what went wrong, and a line for each command and fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--errors", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    options = parser.parse_args()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        prepare(root)
        for command in options.commands:
            scene = Scene(root, command)
            for fault in options.errors:
                rng = random.Random(f"{options.seed} {command} {fault}")
                for at in chosen(len(scene.calls), options.every, rng):
                    rows.append(scene.trial(at, fault))
                    # Each time: whoever ends it has what was done.
                    options.out.write_text(json.dumps(rows, indent=1) + "\n")
                    if rows[-1]["wrong"]:
                        print(*(f"{k}={rows[-1][k]}" for k in ("command", "fault", "at", "call")),
                              rows[-1]["wrong"], flush=True)  # fmt: skip
                own = [r for r in rows if (r["command"], r["fault"]) == (command, fault)]
                ends = Counter("went on" if r["exit"] == 0 else "ended" for r in own)
                print(f"{command:12}{fault:8}{len(own):5} of {len(scene.calls)} calls, "
                      f"{sum(bool(r['wrong']) for r in own)} wrong, {dict(ends)}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
