"""The assignments as a workbook, Parquet and Arrow: the CSV's rows, with types."""

import builtins
import json

import pandas as pd
import pytest

from clusterkit import export, read_assignments
from clusterkit.data.workbooks import read_workbook
from clusterkit.errors import ConfigError, DataError
from clusterkit.formats.arrow_tables import SETS, arrow_parts
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE
from clusterkit.formats.csv_text import safe_csv_text


@pytest.mark.parametrize("to", ["parquet", "arrow"])
def test_types(run, assignment, tmp_path, to):
    feather = pytest.importorskip("pyarrow.feather")
    parquet = pytest.importorskip("pyarrow.parquet")
    result = export(run, to, tmp_path / "out")
    found = {"parquet": parquet.read_table, "arrow": feather.read_table}[to](
        tmp_path / "out" / f"assignments.{to}"
    )
    kinds = {name: str(found.schema.field(name).type) for name in found.schema.names}
    assert list(kinds) == COLUMNS
    assert {kinds[name] for name in NUMBERS} == {"double"}
    assert {kinds[name] for name in WHOLE} == {"int64"}
    assert {kinds[name].partition("<")[0] for name in SETS} == {"list"}
    others = set(COLUMNS).difference(NUMBERS, WHOLE, SETS)
    assert {kinds[name] for name in others} == {"string"}
    table = read_assignments(assignment.path)
    assert result.counts == {k: n for k, n in assignment.record.status.items() if n}
    # Back to what the CSV says, cell by cell.
    for name in COLUMNS:
        cells = found[name].to_pylist()
        given = [None if pd.isna(v) or v == "" else v for v in table[name]]
        joined = ["|".join(v) if isinstance(v, list) else v for v in cells]
        assert joined == given, name
    back = found.to_pandas()
    assert {str(back[name].dtype) for name in WHOLE} == {"Int64"}


def test_all_of_a_workbook_is_what_the_csv_says(run, assignment, tmp_path):
    pytest.importorskip("openpyxl")
    export(run, "xlsx", tmp_path / "out")
    path = tmp_path / "out" / "assignments.xlsx"
    table = read_assignments(assignment.path)
    (_, names), *rows = read_workbook(path)
    assert names == COLUMNS
    texts = [i for i, name in enumerate(COLUMNS) if name not in (*NUMBERS, *WHOLE)]
    for (_, cells), given in zip(rows, table[COLUMNS].itertuples(index=False), strict=True):
        assert [cells[i] for i in texts] == [safe_csv_text(given[i]) for i in texts]
    # And it can be read in the place of the CSV.
    pd.testing.assert_frame_equal(read_assignments(path), table)


def test_chosen_rows(run, assignment, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    result = export(run, "parquet", tmp_path / "out", status="failed,novel")
    found = parquet.read_table(tmp_path / "out" / "assignments.parquet")
    assert set(found["status"].to_pylist()) == set(result.counts)
    marker = json.loads((tmp_path / "out" / "clusterkit-export.json").read_text())
    assert marker["files"] == ["assignments.parquet"]
    # A table of no rows has its types too.
    assert next(arrow_parts(assignment.table.head(0))).schema.equals(found.schema)


def test_what_makes_no_sense(run, tmp_path):
    with pytest.raises(ConfigError, match="--copy is for targets with images, not for parquet"):
        export(run, "parquet", tmp_path / "out", copy=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="is not empty and was not written by"):
        export(run, "parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("xlsx", "openpyxl", "xlsx"), ("parquet", "pyarrow", "features"),
     ("arrow", "pyarrow", "features")],
)  # fmt: skip
def test_without_the_package(run, tmp_path, monkeypatch, to, package, extra):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match=rf"{package}: pip install 'clusterkit\[{extra}\]'"):
        export(run, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()
