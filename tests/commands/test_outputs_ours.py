"""What a command replaces is clusterkit's own or was not there; links lead to nothing else."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

# What somebody may have where a command is told to write.
CONTENTS = {
    "notes": b"my notes\n",
    "picture": b"\x89PNG\r\n\x1a\n mine",
    "table": b"name,age\nme,3\n",
    "json": b'{"mine": 1}\n',
    "page": b"<!doctype html><title>mine</title>",
}
KINDS = (*CONTENTS, "folder", "link", "link to a folder", "dangling")

# By command: its arguments, what --out is given, and what is there already.
COMMANDS = {
    "assign": (
        ["assign", "{sample}/unlabeled.csv", "--run", "{run}"],
        ["o.csv", "o.json", "o.png", "o"],
        ["o.csv", "o.json", "o.png", "o", "o.csv.journal", "o.csv.journal/lock",
         "o.csv.journal/rows", "o.csv.journal/key", "o.csv.journal/mine"],
    ),
    "audit": (
        ["audit", "--run", "{run}", "--limit", "3"],
        ["d"],
        ["d/index.html", "d/metrics.json", "d/mine", "d/thumbs", "d/plots"],
    ),
    "audit --image": (
        ["audit", "--run", "{run}", "--image", "unlabeled/cell-0001.png"],
        ["s.png"],
        ["s.png"],
    ),
    "inspect": (
        ["inspect", "{sample}/labels.csv"],
        ["d"],
        ["d/index.html", "d/findings.csv", "d/summary.json", "d/mine", "d/thumbs"],
    ),
    "embed": (
        ["embed", "{sample}/unlabeled", "--run", "{run}"],
        ["f.npz", "f.parquet"],
        ["f.npz", "f.parquet"],
    ),
    "review": (["review", "{reviews}", "--run", "{run}"], ["r.csv", "r"], ["r.csv", "r"]),
    "certify": (
        ["certify", "--run", "{run}", "--max-error", "0"],
        ["c"],
        ["c/plan.json", "c/mine", "c/index.html", "c/sample.csv", "c/assignments.csv", "c/thumbs"],
    ),
    "export": (
        ["export", "--to", "coco", "--copy", "--run", "{run}", "--status", "all"],
        ["e"],
        ["e/mine", "e/coco.json", "e/clusterkit-export.json", "e/images", "e"],
    ),
    "export table": (
        ["export", "--to", "parquet", "--run", "{run}"],
        ["e"],
        ["e/mine", "e/assignments.parquet", "e/clusterkit-export.json", "e"],
    ),
    "demo": (["demo"], ["demo"], ["demo/mine", "demo/labels.csv", "demo/run", "demo"]),
}  # fmt: skip


def state(folder: Path) -> dict[str, str]:
    """What is in a folder: bytes of files, and where links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
    return found


def put(path: Path, kind: str, other: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
    else:
        target = {"link": "precious", "link to a folder": "", "dangling": "none"}[kind]
        path.symlink_to(other / target)


def trials() -> list[tuple[str, str, str, str]]:
    return [(command, out, theirs, kind) for command, (_, outs, there) in COMMANDS.items()
            for out in outs for theirs in there for kind in KINDS]  # fmt: skip


def drawn(count: int) -> list[tuple[str, str, str, str]]:
    """Each command once, and others by their hash: the same in every run of the tests."""
    ordered = sorted(trials(), key=lambda trial: hashlib.sha256(repr(trial).encode()).digest())
    # The demo fits, where it is not stopped.
    ordered = [trial for trial in ordered if trial[0] != "demo"]
    first = {trial[0]: trial for trial in reversed(ordered)}
    return list(dict.fromkeys([*first.values(), *ordered]))[:count]


@pytest.fixture
def theirs_stays(run, assignment, sample, tmp_path, command, monkeypatch):
    """Run a command where somebody has something; nothing of theirs is another afterwards."""
    monkeypatch.chdir(tmp_path)
    reviews = tmp_path / "given.csv"
    reviews.write_text("image_id,label,decision\n")

    def call(name, out, theirs, kind):
        user, other = tmp_path / "user", tmp_path / "other"
        for folder in (user, other):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (other / "precious").write_text("precious")
        put(user / theirs, kind, other)
        before, outside = state(user), state(other)
        named = {"run": run.path, "sample": sample, "reviews": reviews}
        arguments = [str(part).format(**named) for part in COMMANDS[name][0]]
        code, _, err = command(*arguments, "--out", user / out)
        after = state(user)
        assert {k: after.get(k) for k in before} == before, (code, err)
        if (user / out).resolve() != other:
            assert state(other) == outside, (code, err)
        assert "Traceback" not in err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (code != 0)

    return call


@pytest.mark.parametrize("trial", drawn(30), ids="-".join)
def test_nothing_of_somebody_s_is_replaced(theirs_stays, trial):
    theirs_stays(*trial)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("inspect", "d/findings.csv"), ("inspect", "d/index.html"), ("audit", "d/metrics.json"),
     ("audit", "d/index.html"), ("certify", "c/plan.json"), ("export", "e/clusterkit-export.json")],
)  # fmt: skip
def test_a_pipe_of_somebody_s_holds_nobody(theirs_stays, name, theirs):
    theirs_stays(name, theirs[0], theirs, "pipe")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_nothing_of_somebody_s_is_replaced_by(theirs_stays, name):
    for trial in trials():
        if trial[0] == name:
            theirs_stays(*trial)


@pytest.mark.parametrize("theirs", COMMANDS["demo"][2])
@pytest.mark.parametrize("kind", ["notes", "link to a folder"])
def test_the_demo_replaces_a_demo_alone(theirs_stays, theirs, kind, monkeypatch):
    # What comes after the sample is written is no question here, and takes a minute.
    def stop(*_, **__):
        raise AssertionError("the demo went on")

    monkeypatch.setattr("clusterkit.training.fit.fit", stop)
    theirs_stays("demo", "demo", theirs, kind)


# What may be a link in a run's folder, and what then must not be touched or read.
LINKS = [
    "assignments.csv", "assignments.json", "assignments.csv.journal",
    "assignments.csv.journal/lock", "assignments.csv.journal/key", "assignments.csv.journal/rows",
    "assignments.csv.journal/batches", "audit", "audit/index.html", "audit/metrics.json",
    "audit/plots", "audit/plots/map.svg", "audit/thumbs", "audit/thumbs/x-thumb.jpg", "export",
    "export/coco", "export/coco/coco.json", "certify", "certify/thumbs", "certify/index.html",
    "certify/sample.csv", "certify/assignments.csv", ".certify.lock", "reviews.csv",
    ".assignments.csv.partial", "certify/.assignments.csv.partial",
    ".assignments.csv.0123abcd.partial", ".assignments.json.0123abcd.partial",
    "audit/.index.html.0123abcd.partial",
]  # fmt: skip
STEPS = {
    "assign": ["assign", "{sample}/unlabeled.csv", "--overwrite"],
    "audit": ["audit", "--limit", "3"],
    "sheet": ["audit", "--image", "unlabeled/cell-0001.png"],
    "export": ["export", "--to", "coco", "--copy", "--status", "all"],
    "certify": ["certify", "--max-error", "0"],
}
SECRET = "TOP-SECRET-4711"


def point_to(sample: Path, own: Path) -> None:
    """Let a copy of a run find its images."""
    root = os.path.relpath(sample, own)
    info = json.loads((own / "run.json").read_text())
    info["data"] |= {"root": root, "roots": [root]}
    (own / "run.json").write_text(json.dumps(info))
    record = json.loads((own / "assignments.json").read_text())
    (own / "assignments.json").write_text(json.dumps(record | {"input_root": root}))


@pytest.fixture
def through_links(run, assignment, sample, tmp_path, command):
    """Use a run in which something is a link; nothing outside is another, or known, afterwards."""

    def call(name: str, kind: str, steps: list[str]) -> None:
        for step in steps:
            own, outside = tmp_path / "run", tmp_path / "outside"
            for folder in (own, outside):
                shutil.rmtree(folder, ignore_errors=True)
            for secret in ("f", "d/x-thumb.jpg", "d/map.svg", "d/lock", "d/index.html"):
                (outside / secret).parent.mkdir(parents=True, exist_ok=True)
                (outside / secret).write_text(SECRET)
            shutil.copytree(run.path, own, ignore=shutil.ignore_patterns("audit", "certify"))
            point_to(sample, own)
            link = own / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(outside / {"file": "f", "folder": "d"}[kind])
            before = state(outside)
            arguments = [part.format(sample=sample) for part in STEPS[step]]
            code, out, err = command(*arguments, "--run", own)
            assert state(outside) == before, (step, err)
            assert SECRET not in out + err, step
            assert "Traceback" not in err
            assert len([k for k in err.splitlines() if k.startswith("error: ")]) == (code != 0)
            for path in [p for p in own.rglob("*") if p.is_file() and not p.is_symlink()]:
                if outside not in path.resolve().parents:
                    assert SECRET.encode() not in path.read_bytes(), (step, path)

    return call


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[pytest.mark.long] * (n % 5 > 0)) for n in range(len(LINKS))]
)
def test_links_in_a_run_lead_nowhere(through_links, number):
    """Each link once, by a step that is about it or another one."""
    name = LINKS[number]
    about = {"audit": "audit", "export": "export", "certify": "certify", ".certify": "certify"}
    step = about.get(name.split("/")[0].removesuffix(".lock"), list(STEPS)[number % len(STEPS)])
    through_links(name, "folder" if number % 2 else "file", [step])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", LINKS)
def test_every_link_in_a_run_by_every_step(through_links, name, kind):
    through_links(name, kind, list(STEPS))
