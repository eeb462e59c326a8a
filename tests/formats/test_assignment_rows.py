"""Rows of assignments as records: every column of the contract, empty cells as None."""

from dataclasses import asdict, fields

import pandas as pd
import pytest

from clusterkit import read_assignments
from clusterkit.errors import DataError
from clusterkit.formats.assignment_rows import AssignmentRow, assignment_rows
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE


def test_rows_are_the_table_cell_by_cell(assignment):
    table = read_assignments(assignment.path)
    rows = list(assignment_rows(table))
    assert [field.name for field in fields(AssignmentRow)] == COLUMNS
    assert len(rows) == len(table) > 0
    for row, cells in zip(rows, table[COLUMNS].to_dict("records"), strict=True):
        expected = {name: None if pd.isna(cell) else cell for name, cell in cells.items()}
        assert asdict(row) == expected
        kinds = {name: type(value) for name, value in asdict(row).items() if value is not None}
        assert all(kind is float for name, kind in kinds.items() if name in NUMBERS)
        assert all(kind is int for name, kind in kinds.items() if name in WHOLE)
    assert any(row.cluster is None for row in rows)
    assert any(row.confidence is None for row in rows)


def test_a_table_without_rows(assignment):
    assert list(assignment_rows(read_assignments(assignment.path).head(0))) == []


def test_rows_of_more_cells_than_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(COLUMNS) + "\n" + "x," * (len(COLUMNS) + 2) + "\n")
    with pytest.raises(DataError, match=r"a\.csv has rows of more cells than its first line"):
        read_assignments(path)
