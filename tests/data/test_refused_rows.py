"""Rows of a table whose path is not followed: failed rows of `assign`, errors of all others."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit import assign, embed, inspect
from clusterkit.data.guarded_path import GuardedPath
from clusterkit.data.identity import read_identified
from clusterkit.data.inputs import not_read, read_inputs
from clusterkit.data.manifest import read_manifest
from clusterkit.errors import DataError, ImageError

# What a cell holds, and what the row says of it.
REFUSED = {
    "../secret.png": "leads out of the data root",
    "a/../../secret.png": "leads out of the data root",
    "/etc/passwd": "leads out of the data root",
    "C:\\x.png": "leads out of the data root",
    "https://example.org/x.png": "an address",
    "out.png": "a link that leads out",
    "far.png": "a link that leads out",
    "a\0b.png": "impossible path",
    "\0": "impossible path",
    "": "impossible path",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder with two images, links out of it, and what they lead to beside it."""
    base = tmp_path_factory.mktemp("refused")
    root = base / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for path in (root / "a.png", root / "b.png", base / "secret.png"):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    (root / "out.png").symlink_to(base / "secret.png")
    (root / "way").symlink_to(base)
    (root / "far.png").symlink_to(root / "way" / "secret.png")
    (root / "turn.png").symlink_to(root / "turn.png")
    return root


def table(folder, cells, columns="image,note"):
    path = folder / "t.csv"
    rows = ['"' + cell + '"' + ",x" * columns.count(",") for cell in cells]
    path.write_bytes("\n".join([columns, *rows, ""]).encode())
    return path


@pytest.mark.parametrize(("cell", "reason"), REFUSED.items(), ids=repr)
def test_a_row_that_leads_out_fails_alone(data, caplog, cell, reason):
    rows = read_inputs(table(data, ["a.png", cell, "b.png"]))
    refused = [isinstance(path, GuardedPath) and path.refused for path in rows["path"]]
    assert sum(refused) == 1
    row = rows.iloc[refused.index(True)]
    assert reason in row["path"].reason
    assert str(data) not in row["path"].reason
    assert row["image"] == cell.replace("\\", "/").replace("\0", "%00")
    assert "no file is read for 1 of 3 rows" in caplog.text
    assert "t.csv, line 3: " in caplog.text
    assert not_read(rows).total == 1
    with pytest.raises(ImageError, match=reason):
        read_identified(row["path"], row["frame"])
    # Nothing is there, so that nobody who does not ask finds anything either.
    assert not os.path.lexists(row["path"])


@pytest.mark.parametrize("cell", REFUSED, ids=repr)
def test_fit_inspect_and_embed_name_the_row(data, tmp_path, cell):
    path = table(data, ["a.png", cell], "image,label")
    for read in (read_manifest, inspect):
        with pytest.raises(DataError, match=r"t\.csv(, line 3| cannot be read.*line 3)") as error:
            read(path)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="line 3"):
        embed(path, tmp_path / "e.parquet")


def test_a_table_of_nothing_else_is_an_error(data):
    with pytest.raises(DataError, match=r"line 2: .*leaves the data root"):
        read_inputs(table(data, ["../secret.png", "/etc/passwd"]))


def test_all_are_named_in_the_result(run, data, tmp_path):
    cells = ["b.png", *(cell for cell in REFUSED if cell), "a.png", "gone.png", "turn.png"]
    result = assign(run, table(data, cells), out=tmp_path / "o.csv")
    found = result.table.set_index("image")
    assert len(found) == len(cells)
    assert set(found.index[found["status"] != "failed"]) == {"a.png", "b.png"}
    assert (found.loc[found["status"] == "failed", "image_id"] == "").all()
    assert "is not followed (--images)" in found.loc["../secret.png", "reason"]
    assert sum(sum(ends.values()) for ends in result.record.not_read.values()) == len(REFUSED)
    again = pd.read_csv(tmp_path / "o.csv", encoding="utf-8-sig", keep_default_na=False)
    assert len(again) == len(cells)
    alone = assign(run, table(data, ["a.png", "b.png"]), out=tmp_path / "alone.csv").table
    pd.testing.assert_series_equal(
        alone.set_index("image")["classifier_label"],
        found.loc[["a.png", "b.png"], "classifier_label"],
    )


PARTS = st.sampled_from(["..", ".", "a.png", "b.png", "way", "secret.png", "\0", "out.png", "~",
                         "\\", "C:", "file://", "x" * 300, "%2e%2e", "é"])  # fmt: skip


@settings(max_examples=150)
@given(st.lists(PARTS, min_size=1, max_size=5).map("/".join))
def test_whatever_a_cell_holds_nothing_outside_is_named(data, cell):
    rows = read_inputs(table(data, ["a.png", cell, "b.png"]))
    root = os.path.realpath(data)
    for path in rows["path"]:
        if not (isinstance(path, GuardedPath) and path.refused):
            assert os.path.realpath(path).startswith((root + os.sep, root))
