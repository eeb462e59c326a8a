"""Paths that cannot be written: one line with path, reason and option, and nothing left behind."""

import builtins
import errno
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit import assign
from clusterkit.errors import ClusterkitError, OutputError
from clusterkit.output import check_writable, writing

FAULTS = {
    errno.EROFS: "read-only",
    errno.EACCES: "no permission",
    errno.ENOSPC: "disk is full; make room",
    errno.EDQUOT: "quota is used up; make room",
    errno.EIO: os.strerror(errno.EIO),
}


def fault(number, *names):
    return OSError(number, os.strerror(number), *names)


@pytest.fixture
def forbid(monkeypatch):
    """Let the system refuse to make or open for writing anything in a folder."""

    def call(folder, number):
        folder, make, open_ = str(folder), os.mkdir, builtins.open

        def refused(path):
            name = os.fspath(path) if not isinstance(path, int) else ""
            return str(name).startswith(folder)

        def mkdir(path, *args, **kwargs):
            if refused(path):
                raise fault(number, str(path))
            return make(path, *args, **kwargs)

        def opened(path, mode="r", *args, **kwargs):
            if set(mode) & set("wxa+") and refused(path):
                raise fault(number, str(path))
            return open_(path, mode, *args, **kwargs)

        monkeypatch.setattr(os, "mkdir", mkdir)
        monkeypatch.setattr(builtins, "open", opened)

    return call


@pytest.fixture
def nothing_is_computed(monkeypatch):
    """Fail the test where an image is read: what cannot be written is said before."""

    def read(*_, **__):
        raise AssertionError("an image was read")

    for module in ("inference.workers", "data.labelled", "inspection.scan"):
        monkeypatch.setattr(f"clusterkit.{module}.load_batches", read, raising=False)
    monkeypatch.setattr("clusterkit.inference.engines.compute", read)
    monkeypatch.setattr("clusterkit.inspection.inspect.scan", read)
    monkeypatch.setattr("clusterkit.auditing.audit.CardDrawer", read)
    monkeypatch.setattr("clusterkit.auditing.sheet.gather", read)
    monkeypatch.setattr("clusterkit.retrieval.finder.SimilarityFinder", read)


def commands(run, sample, csv, out):
    image = sample / "unlabeled" / sorted(os.listdir(sample / "unlabeled"))[0]
    about = ["--run", run.path]
    return {
        "assign": (["assign", sample / "unlabeled.csv", *about, "--out", out / "a.csv"], "--out"),
        "fit": (["fit", sample / "labels.csv", "--run", out / "run"], "--run"),
        "audit": (["audit", *about, "--assignments", csv, "--out", out / "page"], "--out"),
        "sheet": (["audit", *about, "--assignments", csv, "--image", "unlabeled/cell-0001.png",
                   "--out", out / "a.png"], "--out"),
        "inspect": (["inspect", sample / "labels.csv", "--out", out / "page"], "--out"),
        "similar": (["similar", image, *about, "--cams", out / "a.png"], "--cams"),
        "export": (["export", "--to", "coco", *about, "--assignments", csv,
                    "--out", out / "coco"], "--out"),
        "demo": (["demo", "--out", out / "demo"], "--out"),
    }  # fmt: skip


NAMES = ["assign", "fit", "audit", "sheet", "inspect", "similar", "export", "demo"]


def only_error(result, folder, option):
    code, out, err = result
    assert (code, out) == (1, "")
    line = err.splitlines()[-1]
    assert re.match(r"error: .*(cannot write|cannot be written|is in the way)", line), err
    assert str(folder) in line
    assert f"another {option}" in line
    return line


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # The demo makes its sample first.
        pytest.param(name, number, marks=[pytest.mark.long] * (name == "demo"))
        for name in NAMES
        for number in FAULTS
    ],
)
def test_a_folder_that_cannot_be_written(
    name, number, command, run, assignment, sample, tmp_path, forbid, nothing_is_computed
):
    out = tmp_path / "out"
    out.mkdir()
    arguments, option = commands(run, sample, assignment.path, out)[name]
    forbid(out, number)
    line = only_error(command(*arguments), out, option)
    assert FAULTS[number] in line or name == "export"
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "demo")) for n in NAMES]
)
@pytest.mark.parametrize("what", ["file above", "long name", "file below a file"])
def test_a_path_that_cannot_be(
    what, name, command, run, assignment, sample, tmp_path, nothing_is_computed
):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / {"long name": "x" * 300, "file above": "file"}.get(what, "file/folder")
    arguments, option = commands(run, sample, assignment.path, out)[name]
    only_error(command(*arguments), tmp_path, option)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_assign_says_that_a_folder_is_in_the_way_before_it_encodes(
    name, run, sample, tmp_path, nothing_is_computed
):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=r"a folder is in the way; give another --out FILE\.csv"):
        assign(run, sample / "unlabeled.csv", out=tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_table_is_not_replaced_by_the_json_beside_it(run, sample, tmp_path):
    with pytest.raises(ClusterkitError, match=r"call it \.csv"):
        assign(run, sample / "unlabeled.csv", out=tmp_path / "a.json")


def test_a_disk_that_fills_up_while_assign_computes(run, sample, config, tmp_path, monkeypatch):
    out, replace = tmp_path / "a.csv", os.replace

    def full(source, target):
        if str(target) == str(out):
            raise fault(errno.ENOSPC, str(source), None, str(target))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="the disk is full; make room, or give another --out"):
        assign(run, sample / "unlabeled.csv", config=config, out=out)
    monkeypatch.undo()
    # What was computed is kept: the same call goes on from there.
    again = assign(run, sample / "unlabeled.csv", config=config, out=out)
    assert again.record.resumed_batches > 0


@pytest.mark.parametrize("below", ["out", "a/out", "a/b/out"])
@pytest.mark.parametrize("folder", [True, False])
def test_whichever_folder_above_it_was_tried(tmp_path, forbid, below, folder):
    forbid(tmp_path, errno.ENOSPC)
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path / below}: the disk is full"):
        check_writable(tmp_path / below, "--out DIR", folder=folder)


def test_errors_about_other_files_stay_what_they_are(tmp_path):
    elsewhere = fault(errno.EACCES, str(tmp_path / "data" / "a.png"))
    with pytest.raises(PermissionError), writing(tmp_path / "out" / "a.csv", "--out FILE.csv"):
        raise elsewhere
    with pytest.raises(OSError, match="file descriptor"), writing(tmp_path, "--out DIR"):
        raise fault(errno.EBADF)


@given(st.lists(st.sampled_from(["a", "b.csv", "ü", "x" * 255]), min_size=1, max_size=4))
def test_a_path_that_can_be_written_is_left_as_it_was(tmp_path_factory, parts):
    root = tmp_path_factory.mktemp("free")
    check_writable(root.joinpath(*parts), "--out FILE.csv")
    check_writable(root.joinpath(*parts), "--out DIR", folder=True)
    assert not list(root.iterdir())


def test_a_probe_that_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    old, new, own = (tmp_path / f".clusterkit.0123abc{n}.partial" for n in range(3))
    for path, text in ((old, "\0"), (new, "\0"), (own, "somebody's")):
        path.write_text(text)
        if path != new:
            os.utime(path, (time.time() - 7200,) * 2)
    check_writable(tmp_path / "out.csv", "--out FILE.csv")
    assert sorted(tmp_path.iterdir()) == [new, own]


@given(st.text(max_size=40), st.integers(0, 200))
def test_an_error_is_one_line_whatever_it_quotes(text, times):
    said = str(ClusterkitError(f"no image '{text * times}'; check the path"))
    assert len(said.splitlines()) == 1
    assert len(said) <= 1000
    assert said.startswith("no image '")
    assert said.endswith("; check the path")
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in said
    assert "\x1b" not in said
