"""Runs of every format that is read: kept as they were written, and used as they were then.

Each archive has a small labelled set and a batch (pictures of 24 pixels in format 3, which knew no
features; two clouds of 8 features since), the run fitted to it by the clusterkit of its day, and
what that assigned.
"""

import zipfile
from pathlib import Path

import pytest

from clusterkit import Run, assign, audit, certify, export, read_assignments, review
from clusterkit.formats.run_info import FORMAT, OLDEST

KEPT = Path(__file__).parent / "runs"


@pytest.fixture(params=range(OLDEST, FORMAT + 1))
def old(request, tmp_path):
    with zipfile.ZipFile(KEPT / f"format-{request.param}.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path, request.param


def test_an_old_run_is_used_as_it_was_then(old):
    folder, number = old
    run = Run.load(folder / "run")
    assert run.info.to_dict()["format"] == number
    features = {"features": folder / "new.npz"} if (folder / "new.npz").exists() else {}
    table = assign(run, folder / "new.csv", out=folder / "now.csv", **features).table
    then = read_assignments(folder / "assignments.csv")
    assert (table["image_id"] == then["image_id"]).all()
    assert (table["classifier_label"] == then["classifier_label"]).all()
    assert (table["predicted_label"] == then["predicted_label"]).all()
    assert (table["status"] == "assigned").any()
    assert audit(run, assignments=folder / "now.csv", out=folder / "page").is_file()
    assert certify(run, assignments=folder / "now.csv", max_error=0.4).page.is_file()
    assert export(run, "parquet", folder / "now.parquet", assignments=folder / "now.csv").counts


def test_old_assignments_are_read_by_what_comes_after(old):
    folder, _ = old
    for name in ("assignments.csv", "assignments.json"):
        (folder / name).rename(folder / "run" / name)
    names = read_assignments(folder / "run" / "assignments.csv")["image_id"]
    rows = "".join(f"{name},a,relabel\n" for name in names)
    (folder / "reviews.csv").write_text("image_id,label,decision\n" + rows)
    assert review(folder / "reviews.csv", folder / "run")["rows"] == 24
    assert audit(folder / "run").is_file()
    assert certify(folder / "run", max_error=0.4).page.is_file()
