"""Rows to export are made one by one, and are those of the table."""

import numpy as np
import pytest

from clusterkit import read_assignments
from clusterkit.exporting.export_rows import ExportRows
from clusterkit.formats.assignment_rows import assignment_rows


@pytest.mark.parametrize("part", [1, 4, 4096])
def test_rows_paths_and_frames(assignment, monkeypatch, part):
    monkeypatch.setattr("clusterkit.exporting.export_rows.PART_ROWS", part)
    table = read_assignments(assignment.path)
    table.loc[2, "image_id"] = "0a1b2c3d4e5f6071#3"
    chosen = np.arange(0, len(table), 2)
    rows = ExportRows(table, chosen, "/data", {4: "/elsewhere/x.png"})
    found, plain = list(rows), list(assignment_rows(table.iloc[chosen]))
    assert len(found) == len(rows) == len(plain)
    assert [vars(one) for one in plain] == [
        {k: v for k, v in vars(one).items() if k not in ("path", "frame")} for one in found
    ]
    assert [row.frame for row in found[:3]] == [-1, 3, -1]
    assert [row.path for row in found[:3]] == [
        f"/data/{found[0].image}", f"/data/{found[1].image}", "/elsewhere/x.png",
    ]  # fmt: skip
    left = rows.without([0, 2])
    assert list(left) == [found[1], *found[3:]]
    assert left.statuses().total() == len(left)
    labels = {row.predicted_label for row in found if row.status == "review"}
    assert rows.labels("review") == sorted(labels)
