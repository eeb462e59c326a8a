"""Journal and parts: what `assign` keeps of a batch, and that no result depends on the parts."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit import assign
from clusterkit.formats.assignments import read_assignments, write_assignments
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.journal import Journal
from clusterkit.methods.clustering import cluster_space, cluster_space_of
from clusterkit.methods.label_shift import estimate_prior, estimate_prior_of

KEY = {"run": "r"}
LISTING = "0123456789abcdef"


def batch(number: int, rows: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {
        "ids": np.array([f"{number}-{i}" for i in range(rows)]),
        "names": np.array([f"{number}/{i}.png" for i in range(rows)]),
        "states": np.array([""] * rows),
        "errors": np.array(["", 'ein "Fehler"\n', "ü\udc80"][:rows] + [""] * (rows - 3)),
        "probs": rng.random((rows, 4)).astype(np.float32),
        "gate": rng.random((rows, 4)) < 0.5,
        "near": rng.integers(-1, 9, rows),
    }


def read(journal: Journal) -> dict[str, np.ndarray]:
    names, there = list(batch(0)), journal.batches_of(LISTING)
    rows = np.array([row for number in sorted(there) for row in there[number]], dtype=int)
    parts = [part for _, part in journal.evidence(rows).parts(*names)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def same(found: dict[str, np.ndarray], batches: list[dict[str, np.ndarray]]) -> bool:
    return all(
        np.array_equal(values, np.concatenate([b[name] for b in batches]))
        and values.dtype.kind in (batches[0][name].dtype.kind, "O")
        for name, values in found.items()
    )


def test_rows_that_are_made_in_parts_are_the_same(run, sample, config, tmp_path, monkeypatch):
    made = [assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "a.csv").table]
    monkeypatch.setattr("clusterkit.inference.rows.JOINED_ROWS", 5)
    # Rows of a part of evidence.
    monkeypatch.setattr("clusterkit.inference.stored_evidence.PART", 6)
    made.append(assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "b.csv").table)
    pd.testing.assert_frame_equal(*made, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    file=st.sampled_from(["rows", "batches"]),
    place=st.floats(0, 1, exclude_max=True),
    damage=st.sampled_from(["cut", "flip", "append"]),
)
def test_whatever_happens_to_a_journal_whole_batches_are_left(file, place, damage):
    with tempfile.TemporaryDirectory() as folder:
        out, sizes = Path(folder, "a.csv"), [3, 5, 3, 4]
        batches = [batch(i, n) for i, n in enumerate(sizes)]
        journal = Journal(out, KEY, fresh=True)
        for number, arrays in enumerate(batches):
            journal.write(LISTING, number, arrays)
        journal.close()
        path = Path(folder, "a.csv.journal", file)
        data = bytearray(path.read_bytes())
        at = int(place * len(data))
        if damage == "cut":
            del data[at:]
        elif damage == "flip":
            data[at] ^= 1
        else:
            data += data[:at]
        path.write_bytes(data)
        journal = Journal(out, KEY, fresh=False)
        left = len(journal.batches_of(LISTING))
        assert set(journal.batches_of(LISTING)) == set(range(left))
        assert (left == 4) == (damage == "append")
        for number in range(left, 4):
            journal.write(LISTING, number, batches[number])
        assert same(read(journal), batches)
        journal.close()
        # And what was written after the damage is found again.
        journal = Journal(out, KEY, fresh=False)
        assert set(journal.batches_of(LISTING)) == {0, 1, 2, 3}
        assert same(read(journal), batches)
        journal.close()


def test_batches_are_joined_by_number_in_parts_and_thrown_away_with_another_key(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("clusterkit.inference.stored_evidence.PART", 7)
    journal = Journal(tmp_path / "a.csv", KEY, fresh=False)
    for number in (2, 0, 3, 1):
        journal.write(LISTING, number, batch(number))
    rows = np.arange(len(journal))
    parts = list(journal.evidence(rows).parts("near", "ids"))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(0, 7), (7, 12)]
    assert [len(part["ids"]) for _, part in parts] == [len(p["near"]) for _, p in parts] == [7, 5]
    # In whatever order they are asked for.
    mixed = np.random.default_rng(0).permutation(rows)
    found = np.concatenate([part["ids"] for _, part in journal.evidence(mixed).parts("ids")])
    whole = np.concatenate([part["ids"] for _, part in parts])
    assert (found == whole[mixed]).all()
    assert same(read(journal), [batch(i) for i in range(4)])
    journal.close()
    journal = Journal(tmp_path / "a.csv", {"run": "other"}, fresh=False)
    assert not len(journal)
    assert not list(journal.evidence(np.arange(0)).parts("near"))
    journal.close()


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=5), seed=st.integers(0, 99))
def test_proportions_and_cluster_space_do_not_depend_on_the_parts(cuts, seed):
    rng = np.random.default_rng(seed)
    probs, reduced = rng.dirichlet([0.5, 1, 2], 400), rng.normal(size=(400, 6))
    places = np.sort(cuts)
    split = np.split(probs, places)
    prior = np.array([0.2, 0.3, 0.5])
    assert np.array_equal(
        estimate_prior_of(lambda: split, prior, 50), estimate_prior(probs, prior, 50)
    )
    labelled, labels = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    parts = zip(np.split(reduced, places), split, strict=True)
    found = cluster_space_of(parts, 400, 3, labelled, labels)
    # Products of few rows and of many round otherwise.
    assert np.allclose(found, cluster_space(reduced, probs, labelled, labels), atol=1e-12)
    assert found[:, :6].var(axis=0).sum() == pytest.approx(1)


def test_csv_does_not_depend_on_the_parts(run, sample, config, assignment, tmp_path, monkeypatch):
    for name in (
        "inference.stored_evidence.PART",
        "methods.clustering.PART",
        "formats.assignments._PART",
    ):
        monkeypatch.setattr(f"clusterkit.{name}", 7)
    found = assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == assignment.path.read_bytes()
    summaries = [a.summary["cluster_summaries"] for a in (found, assignment)]
    assert summaries[0] == summaries[1] != []
    # What is returned is what was written, but for digits and missing numbers.
    written = read_assignments(tmp_path / "a.csv")
    write_assignments(found.table.iloc[:0], tmp_path / "none.csv")
    assert list(read_assignments(tmp_path / "none.csv")) == list(written)
    for column in written:
        assert str(found.table[column].dtype) == str(written[column].dtype)


def test_evidence_in_memory_comes_in_parts(monkeypatch):
    monkeypatch.setattr("clusterkit.inference.evidence.PART", 4)
    numbers = np.arange(20).reshape(10, 2)
    parts = list(Evidence({"a": numbers, "b": np.zeros(10)}).parts("a"))
    assert [rows for rows, _ in parts] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert np.array_equal(np.concatenate([part["a"] for _, part in parts]), numbers)


def test_what_is_begun_anew_is_said_and_only_that(tmp_path, caplog):
    def opened(key: int, fresh: bool = False) -> Journal:
        return Journal(tmp_path / "a.csv", {"run": key}, fresh)

    opened(1).close()
    first = opened(2)
    first.write(LISTING, 0, batch(0))
    first.close()
    opened(2).close()
    assert caplog.text == ""
    anew = opened(3)
    assert not len(anew)
    anew.write(LISTING, 0, batch(0))
    anew.close()
    assert caplog.text.count("begun anew") == 1
    opened(4, fresh=True).close()
    assert caplog.text.count("begun anew") == 1
