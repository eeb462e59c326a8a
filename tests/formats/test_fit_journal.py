"""The journal of a fit: what is kept comes back to the bit, or not at all."""

import errno
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.errors import RunError
from clusterkit.formats.fit_journal import FitJournal, KeepsNothing

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 4),
    "mask": torch.tensor([True, False]),
}
VALUES = {"loss": 0.1 + 0.2, "least": float("inf"), "rows": [1, None, "ü"]}


@pytest.fixture
def opened(tmp_path):
    journals = []

    def call(key=1, fresh=False, name="run"):
        journal = FitJournal(tmp_path / name)
        journals.append(journal)
        journal.begin({"key": key}, fresh)
        return journal

    yield call
    for journal in journals:
        journal.remove()


def same(piece):
    return (
        piece is not None
        and piece.values == VALUES
        and piece.tensors.keys() == TENSORS.keys()
        and all(
            piece.tensors[k].dtype == v.dtype and torch.equal(piece.tensors[k], v)
            for k, v in TENSORS.items()
        )
    )


def test_what_is_kept_is_there_for_the_next_fit_of_the_same_key(opened, caplog):
    first = opened()
    assert first.load("head-0") is None
    first.keep("head-0", TENSORS, VALUES)
    first.keep("head-1", {})
    first.drop("head-1")
    first.close()
    again = opened()
    assert same(again.load("head-0"))
    assert again.load("head-1") is None
    assert "going on with an interrupted fit" in caplog.text
    again.remove()
    assert not again.place.folder.exists()


@pytest.mark.parametrize(("key", "fresh"), [(2, False), (1, True), (2, True)])
def test_what_is_of_another_key_or_not_wanted_is_thrown_away(opened, caplog, key, fresh):
    first = opened()
    first.keep("head-0", TENSORS, VALUES)
    first.close()
    again = opened(key, fresh)
    assert again.load("head-0") is None
    assert ("is thrown away" in caplog.text) == (not fresh)
    assert sorted(os.listdir(again.place.folder)) == ["key", "lock"]


@given(st.data())
def test_a_damaged_piece_is_not_believed(tmp_path_factory, data):
    journal = FitJournal(tmp_path_factory.mktemp("journal") / "run")
    journal.begin({}, False)
    journal.keep("head", TENSORS, VALUES)
    (path,) = journal.place.folder.glob("*.safetensors")
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))])
                         + whole[at + 1 :])  # fmt: skip
    found = journal.load("head")
    assert found is None or same(found)
    assert path.exists() == (found is not None)
    journal.remove()


def test_a_piece_of_another_name_or_key_is_not_believed(opened, caplog):
    mine, other = opened(), opened(2, name="other")
    for journal in (mine, other):
        journal.keep("head-0", TENSORS, VALUES)
    mine_0, other_0 = (j.place.folder / "head-0.safetensors" for j in (mine, other))
    (mine.place.folder / "head-1.safetensors").write_bytes(mine_0.read_bytes())
    mine_0.write_bytes(other_0.read_bytes())
    assert mine.load("head-0") is None
    assert mine.load("head-1") is None
    assert caplog.text.count("is damaged and is thrown away") == 2


def test_no_code_of_a_piece_runs(opened):
    journal = opened()
    path = journal.place.folder / "head.safetensors"
    torch.save({"tensors.weight": torch.ones(2)}, path)
    assert journal.load("head") is None


def test_where_there_is_no_room_the_fit_goes_on(opened, monkeypatch, caplog):
    journal = opened()
    journal.keep("head-0", TENSORS, VALUES)

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(os, "replace", full)
    journal.keep("head-1", TENSORS)
    journal.keep("head-2", TENSORS)
    monkeypatch.undo()
    (record,) = caplog.records
    assert "the disk is full; fit goes on" in record.message
    assert sorted(os.listdir(journal.place.folder)) == ["head-0.safetensors", "key", "lock"]


def test_a_fit_that_ends_by_an_exception_keeps_what_it_has(tmp_path):
    def stopped(keeps):
        with FitJournal.reserved(tmp_path / "new" / "run") as journal:
            journal.begin({}, False)
            if keeps:
                journal.keep("head", TENSORS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped(keeps=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        stopped(keeps=True)
    assert (tmp_path / "new" / "run.journal" / "head.safetensors").is_file()
    # The lock is free again.
    with FitJournal.reserved(tmp_path / "new" / "run") as journal:
        journal.begin({}, False)
        assert journal.load("head") is not None
    assert not list((tmp_path / "new").iterdir())


def test_somebodys_files_stay(opened, tmp_path):
    folder = tmp_path / "run.journal"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"notes\.txt is no file of an interrupted fit"):
        opened()
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["lock", "head.safetensors", ""])
def test_links_are_not_followed(opened, tmp_path, name):
    target = tmp_path / "target"
    folder = tmp_path / "run.journal"
    if name:
        folder.mkdir()
        target.write_text("mine")
        (folder / name).symlink_to(target)
    else:
        target.mkdir()
        (target / "key").write_text("mine")
        folder.symlink_to(target)
    with pytest.raises(RunError, match="is no file of an interrupted fit"):
        opened()
    assert (target if name else target / "key").read_text() == "mine"


def test_whoever_keeps_nothing_has_nothing():
    nothing = KeepsNothing()
    nothing.keep("views", {"views": torch.ones(2)})
    assert nothing.tensor("views") is None
    assert nothing.load("views") is None
