"""A table of assignments and its record are of one call, or whoever reads them says that not."""

import hashlib
import json
import os
import shutil

import pandas as pd
import pytest

from clusterkit import assign, audit, certify
from clusterkit.auditing.batch import read_batch
from clusterkit.config import override
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.exporting.export import export
from clusterkit.formats import assignment_pair
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.assignments import read_assignments, write_assignments

NOT_ONE = r"is not what a\.json beside it is about: a command was ended between .* run"


class KilledError(BaseException):
    """As a process that ends there: nothing is tidied up."""


@pytest.fixture
def killed(run, sample, config, tmp_path, monkeypatch):
    """A table of one call, beside the record of the call before."""
    out = tmp_path / "a.csv"
    assign(run, sample / "unlabeled.csv", config=config, out=out)
    rename = os.replace

    def end(source, target):
        if str(target).endswith("a.json"):
            raise KilledError
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(assignment_pair.os, "replace", end)
        other = override(config, assign__max_error=0.9)
        with pytest.raises(KilledError):
            assign(run, sample / "unlabeled.csv", config=other, out=out)
    return out


def readers(run, csv, folder):
    yield lambda: audit(run, assignments=csv, out=folder / "page")
    yield lambda: certify(run, assignments=csv, out=folder / "certify")
    yield lambda: load_assigned(csv)
    for to in ("folders", "coco", "parquet"):
        yield lambda to=to: export(run, to, folder / to, assignments=csv)


def test_the_record_names_the_table(assignment):
    bytes_of_table = assignment.path.read_bytes()
    assert assignment.record.table == hashlib.sha256(bytes_of_table).hexdigest()
    left = {path.name for path in assignment.path.parent.iterdir() if path.name.startswith(".")}
    assert not left


def test_a_kill_between_the_two_is_noticed_by_all_and_mended_by_assign(
    killed, run, sample, config, tmp_path
):
    for read in readers(run, killed, tmp_path):
        with pytest.raises(DataError, match=NOT_ONE):
            read()
    assert not (tmp_path / "page").exists()
    other = override(config, assign__max_error=0.9)
    again = assign(run, sample / "unlabeled.csv", config=other, out=killed)
    assert again.record.resumed_batches > 0
    for read in readers(run, killed, tmp_path):
        read()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_kill_at_the_first_call_is_noticed(killed, run):
    killed.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=NOT_ONE):
        read_batch(run, killed)


def test_a_record_of_another_call_is_noticed(run, sample, config, tmp_path):
    """Whoever put it there: more rows have a status than it counts."""
    few = assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "few.csv")
    all_ = override(config, assign__max_error="none")
    many = assign(run, sample / "unlabeled.csv", config=all_, out=tmp_path / "a.csv")
    assert few.record.status != many.record.status
    shutil.copy(tmp_path / "few.json", tmp_path / "a.json")
    with pytest.raises(DataError, match=NOT_ONE):
        read_batch(run, tmp_path / "a.csv")


def test_a_table_that_was_saved_again_is_still_read(run, assignment, tmp_path):
    csv = tmp_path / "a.csv"
    shutil.copy(assignment.path.with_suffix(".json"), tmp_path / "a.json")
    table = pd.read_csv(assignment.path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    for how in ({}, {"sep": ";"}, {"lineterminator": "\r\n"}, {"encoding": "utf-8-sig"}):
        table.to_csv(csv, index=False, **how)
        assert len(read_batch(run, csv).table) == len(table)
    # And one of which somebody has taken rows out, or a label changed.
    text = assignment.path.read_text(encoding="utf-8")
    csv.write_text("\n".join(text.splitlines()[:5]) + "\n", encoding="utf-8")
    assert len(read_batch(run, csv).table) == 4
    csv.write_text(text.replace(",ring,", ",rod,"), encoding="utf-8")
    assert len(read_batch(run, csv).table) == len(table)


def test_a_record_of_before_names_no_table(run, assignment, tmp_path):
    values = json.loads(assignment.path.with_suffix(".json").read_text())
    del values["table"]
    (tmp_path / "a.json").write_text(json.dumps(values | {"status": {}}))
    shutil.copy(assignment.path, tmp_path / "a.csv")
    assert read_batch(run, tmp_path / "a.csv").record.table is None


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", 'say "a"', "a,b", "\n", "\r", " a ", "=1", "'"])
def test_any_text_comes_back_as_it_was(assignment, tmp_path, text):
    table = assignment.table.iloc[:3].reset_index(drop=True)
    for column in ("image", "group", "reason", "predicted_label"):
        table[column] = [text, "x", text]
    write_assignments(table, tmp_path / "a.csv")
    found = read_assignments(tmp_path / "a.csv")
    for column in ("image", "group", "reason", "predicted_label"):
        assert found[column].tolist() == [text, "x", text]


def test_what_is_no_text_is_one_line(assignment, tmp_path):
    odd = pd.Series(["\ud800"] * 3, dtype=object)
    table = assignment.table.iloc[:3].assign(group=odd)
    with pytest.raises(ClusterkitError, match="which is no text") as caught:
        write_assignments(table, tmp_path / "a.csv")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
