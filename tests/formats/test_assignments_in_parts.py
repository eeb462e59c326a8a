"""A table that is read in parts is the one that is read at once, and so are its errors."""

import pandas as pd
import pytest

from clusterkit.errors import DataError
from clusterkit.formats.assignments import read_assignments

PART = "clusterkit.formats.assignments.READ_ROWS"


@pytest.mark.parametrize("rows", [3, 8])
def test_the_same_table(assignment, monkeypatch, rows):
    whole = read_assignments(assignment.path)
    few = read_assignments(assignment.path, ("image", "status"))
    monkeypatch.setattr(PART, rows)
    pd.testing.assert_frame_equal(read_assignments(assignment.path), whole)
    pd.testing.assert_frame_equal(read_assignments(assignment.path, ("image", "status")), few)


@pytest.mark.parametrize(("column", "value", "said"), [
    ("confidence", "1.5", "row 7: confidence '1.5' is no number"),
    ("status", "asigned", r"row 7: status 'asigned' \(did you mean"),
    ("image_id", "7E5", "row 7: image_id '7E5' is no id"),
])  # fmt: skip
def test_an_error_names_the_row_of_the_file(assignment, tmp_path, monkeypatch, column, value, said):
    table = pd.read_csv(assignment.path, dtype=str, keep_default_na=False)
    table.loc[6, column] = value
    table.to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setattr(PART, 4)
    with pytest.raises(DataError, match=said):
        read_assignments(tmp_path / "a.csv")


def test_a_table_without_rows(assignment, tmp_path):
    head = assignment.path.read_text(encoding="utf-8-sig").split("\n")[0]
    (tmp_path / "a.csv").write_text(head + "\n", encoding="utf-8")
    assert list(read_assignments(tmp_path / "a.csv")) == head.split(",")
