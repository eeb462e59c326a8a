"""Whatever a cell holds: the table that is read is the one that was written."""

import os

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterkit.data.tables import read_table
from clusterkit.errors import DataError
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text, table_text

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text(
    "\r\n,;\"'=x \ufeff"
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_cells_come_back(tmp_path_factory, rows):
    table = pd.DataFrame([("k" + a, b) for a, b in rows], columns=["image", "note"], dtype=object)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(table_text(table.map(safe_csv_text)), encoding="utf-8-sig", newline="")
    names, found, _ = read_table(path, wanted=["image", "note"])
    assert names == ["image", "note"]
    assert [[restore_csv_text(cell) for cell in row] for row in found] == table.values.tolist()


@given(CELLS | st.text("-+.|0123456789eE"))
@example("-0")
@example("-1|+2e5")
def test_nothing_is_run_but_numbers_stay(text):
    written = safe_csv_text(text)
    assert restore_csv_text(written) == text
    if written.startswith(("=", "+", "-", "@", "\t", "\r")):
        # A number, as a label may be, or several.
        assert [float(part) for part in written.split("|")]


@pytest.mark.parametrize("name", ["labels.csv", "labels.xlsx"])
def test_a_pipe_is_no_table_and_holds_nobody(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} is no file but a pipe"):
        read_table(tmp_path / name)
