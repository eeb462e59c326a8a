"""A reviews file finds the assignments that it is about."""

import os

import pandas as pd
import pytest

from clusterkit import read_assignments
from clusterkit.errors import RunError
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.review_place import folder_of_reviews


@pytest.fixture
def runs(assignment, tmp_path, monkeypatch):
    """Two runs under ./runs, the newest with other clusters; returns folders and fingerprints."""
    monkeypatch.chdir(tmp_path)
    table, found = read_assignments(assignment.path), {}
    for number, name in enumerate(("old", "new")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        os.utime(folder / "run.json", (number, number))
        own = table.assign(cluster=table["cluster"] + number)
        own.to_csv(folder / "assignments.csv", index=False)
        found[name] = clusters_fingerprint(own)
    (tmp_path / "downloads").mkdir()
    return found


def write(folder, *assignments):
    rows = [{"image_id": "cluster:1", "label": "a", "decision": "relabel", "assignments": a}
            for a in assignments]  # fmt: skip
    path = folder / "reviews.csv"
    pd.DataFrame(rows, columns=["image_id", "label", "decision", "assignments"]).to_csv(
        path, index=False
    )
    return path


def test_a_downloaded_file_finds_its_run(runs, tmp_path):
    assert runs["old"] != runs["new"]
    for name, fingerprint in runs.items():
        path = write(tmp_path / "downloads", "", fingerprint)
        assert folder_of_reviews(path).name == name


def test_the_assignments_beside_it_come_first(runs, tmp_path):
    path = write(tmp_path / "runs" / "old", runs["new"])
    assert folder_of_reviews(path).name == "old"


@pytest.mark.parametrize(
    "content", [b"", b"image_id\n\xff\xfe", b'"a\n', b"assignments\nx1\n", b"[1]"]
)
def test_what_names_none_is_of_the_newest(runs, tmp_path, content):
    path = tmp_path / "downloads" / "reviews.csv"
    path.write_bytes(content)
    assert folder_of_reviews(path).name == "new"
    (tmp_path / "runs" / "old" / "assignments.csv").write_text("damaged")
    assert folder_of_reviews(write(tmp_path / "downloads", runs["old"])).name == "new"


def test_without_runs_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run with an assignments"):
        folder_of_reviews(tmp_path / "reviews.csv")


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-8")])
def test_a_spreadsheet_may_have_saved_it_anew(runs, tmp_path, separator, encoding):
    path = write(tmp_path / "downloads", runs["old"])
    path.write_text(path.read_text().replace(",", separator), encoding=encoding)
    assert folder_of_reviews(path).name == "old"
