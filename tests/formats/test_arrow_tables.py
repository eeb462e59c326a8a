"""Parquet beside the CSV: the same rows with types, and never another table's."""

import shutil

import pandas as pd
import pytest

from clusterkit import assign, certify, read_assignments
from clusterkit.certifying.drawn_sample import SAMPLE
from clusterkit.errors import ConfigError, DataError, RunError
from clusterkit.formats.arrow_tables import SETS, arrow_parts, has_parquet, write_parquet_file
from clusterkit.formats.assignment_pair import write_pair
from clusterkit.formats.assignments import COLUMNS

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def pair(assignment, tmp_path):
    """A table with its Parquet file, and their CSV."""
    table, csv = read_assignments(assignment.path), tmp_path / "a.csv"
    return table, write_pair(table, assignment.record, csv, parquet=True), csv


def test_the_rows_of_the_csv_with_types(pair):
    table, record, csv = pair
    found = pd.read_parquet(csv.with_suffix(".parquet"))
    assert list(found) == COLUMNS
    for name in COLUMNS:
        cells = found[name].map("|".join, na_action="ignore") if name in SETS else found[name]
        expected = table[name].mask(table[name] == "") if name not in SETS else table[name]
        expected = expected.mask(expected == "") if name in SETS else expected
        assert cells.isna().tolist() == expected.isna().tolist(), name
        assert cells.dropna().tolist() == expected.dropna().tolist(), name
    kept = parquet.read_schema(csv.with_suffix(".parquet")).metadata
    assert kept[b"clusterkit.table"].decode() == record.table


def test_row_groups(assignment, tmp_path, monkeypatch):
    monkeypatch.setattr("clusterkit.formats.arrow_tables.ROW_GROUP", 7)
    table = read_assignments(assignment.path)
    write_parquet_file(table, tmp_path / "a.parquet")
    found = parquet.ParquetFile(tmp_path / "a.parquet")
    assert found.num_row_groups == -(-len(table) // 7)
    assert found.read().column("image").to_pylist() == table["image"].tolist()
    assert sum(len(part) for part in arrow_parts(table)) == len(table)


def test_it_goes_with_the_table_that_it_is_of(pair, assignment):
    table, _, csv = pair
    assert has_parquet(csv)
    write_pair(table.head(3), assignment.record, csv)
    assert not csv.with_suffix(".parquet").exists()


def test_what_is_not_from_assign_stays(run, sample, config, tmp_path, assignment):
    csv, mine = tmp_path / "a.csv", tmp_path / "a.parquet"
    mine.write_bytes(b"mine")
    with pytest.raises(RunError, match=r"a\.parquet is not from assign and is not replaced"):
        assign(run, sample / "unlabeled.csv", config=config, out=csv, format="parquet")
    assert not csv.exists()
    write_pair(read_assignments(assignment.path), assignment.record, csv)
    assert mine.read_bytes() == b"mine"
    with pytest.raises(ConfigError, match="--format 'feather' is none of csv, parquet"):
        assign(run, sample / "unlabeled.csv", config=config, out=csv, format="feather")


def test_without_pyarrow_one_line_before_anything_is_done(run, sample, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pyarrow: pip install 'clusterkit\[features\]'"):
        assign(run, sample / "unlabeled.csv", out=tmp_path / "a.csv", format="parquet")
    assert not list(tmp_path.iterdir())


def test_a_certificate_renews_it(run, sample, config, tmp_path):
    csv = tmp_path / "a.csv"
    shutil.copytree(sample, tmp_path / "data")
    source = tmp_path / "data" / "unlabeled.csv"
    assign(run, source, config=config, out=csv, format="parquet")
    certify(run, assignments=csv, out=tmp_path / "certify", budget=5)
    asked = pd.read_csv(tmp_path / "certify" / SAMPLE, dtype=str)[["image_id"]].head(5)
    asked.assign(decision="accept", label="").to_csv(tmp_path / "r.csv", index=False)
    certify(run, assignments=csv, out=tmp_path / "certify", reviews=tmp_path / "r.csv")
    found = pd.read_parquet(csv.with_suffix(".parquet"))
    assert found["status"].tolist() == read_assignments(csv)["status"].tolist()
    assert "reviewed" in set(found["status"])
