"""The place of a run: one fit has it, and what cannot be written is found out before."""

import errno
import os
import time

import pytest

from clusterkit.errors import OutputError, RunError
from clusterkit.formats.run import find_run
from clusterkit.formats.run_reservation import RunReservation, journal_of, remove_left
from clusterkit.formats.unfinished_runs import remove_unfinished


def nobody(folder):
    return False


def test_one_place_is_reserved_once(tmp_path):
    first = RunReservation.of(tmp_path / "run")
    with pytest.raises(RunError, match=r"another clusterkit is fitting .*run; wait for it"):
        RunReservation.of(tmp_path / "run")
    RunReservation.of(tmp_path / "other").remove()
    first.release()
    RunReservation.of(tmp_path / "run").remove()
    assert not list(tmp_path.iterdir())


def test_names_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [RunReservation.under_runs(nobody) for _ in range(5)]
    assert len({one.run for one in found}) == 5
    # A run that is done keeps its name.
    found[0].run.mkdir()
    found[0].remove()
    more = RunReservation.under_runs(nobody)
    assert more.run != found[0].run
    for one in [*found[1:], more]:
        one.remove()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [found[0].run.name]


def test_an_interrupted_fit_that_nobody_named_is_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (RunReservation.under_runs(nobody) for _ in range(2))

    def is_second(folder):
        return folder == second.folder

    # Another process is at it.
    third = RunReservation.under_runs(is_second)
    assert third.run not in (first.run, second.run)
    second.release()
    assert RunReservation.under_runs(is_second).run == second.run


def test_a_link_to_an_empty_folder_is_that_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    place = RunReservation.of(tmp_path / "link")
    assert place.run == tmp_path / "real"
    place.remove()


@pytest.mark.parametrize("name", [".", "..", "sub/.."])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RunError):
        RunReservation.of(tmp_path.__class__(name))
    (tmp_path / "here" / "sub").rmdir()
    with pytest.raises(RunError, match=r"cannot be replaced|is not an empty folder"):
        RunReservation.of(tmp_path.__class__(name.removeprefix("sub/")))
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_a_mounted_folder_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: os.fspath(path).endswith("run"))
    with pytest.raises(RunError, match="is a file system of its own"):
        RunReservation.of(tmp_path / "run")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_in_one_that_cannot_be_written(tmp_path, monkeypatch, number):
    """The run itself may be written into, but no other folder can be put in its place."""
    (tmp_path / "run").mkdir()

    def mkdir(path, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OutputError, match=r"cannot write .*run: .*another --run"):
        RunReservation.of(tmp_path / "run")


def unfinished(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_what_killed_fits_left_goes_and_the_rest_stays(tmp_path):
    mine = unfinished(tmp_path / ".run.0a1b2c3d.partial", "run.json", "weights.safetensors")
    half = unfinished(tmp_path / ".run.00000000.partial", ".run.json.0a1b2c3d.partial")
    others = unfinished(tmp_path / ".other.0a1b2c3d.partial", "run.json")
    old = unfinished(tmp_path / ".old.0a1b2c3d.partial", "run.json")
    os.utime(old, (0, 0))
    users = unfinished(tmp_path / ".run.11111111.partial", "run.json", "notes.txt")
    remove_unfinished(tmp_path / "run")
    assert [p.exists() for p in (mine, half, others, old, users)] == [False, False, True, False,
                                                                      True]  # fmt: skip


def test_no_unfinished_run_is_the_newest(tmp_path):
    unfinished(tmp_path / ".run.0a1b2c3d.partial", "run.json")
    with pytest.raises(RunError):
        find_run(tmp_path)


def test_journals_that_nobody_can_go_on_from_go(tmp_path):
    done, empty, young, full = (tmp_path / name for name in ("done", "empty", "young", "full"))
    for run in (done, empty, young, full):
        RunReservation.of(run).release()
        (journal_of(run) / "lock").touch()
    unfinished(done, "run.json")
    for run in (empty, full):
        os.utime(journal_of(run), (time.time() - 7200,) * 2)
    held = RunReservation.of(young)
    remove_left(tmp_path, lambda folder: folder != journal_of(full))
    assert {p.name for p in tmp_path.iterdir()} == {"done", "young.journal", "full.journal"}
    held.remove()
