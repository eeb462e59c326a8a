"""A reviews file finds the assignments that it is about."""

import json
import os
import shutil

import pandas as pd
import pytest

from clusterkit import read_assignments
from clusterkit.errors import RunError
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.review_place import folder_of_reviews, run_of_assignments


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


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [(";", "utf-8-sig"), ("\t", "utf-8"), ("\t", "utf-16"), (",", "utf-16")],
)
def test_a_spreadsheet_may_have_saved_it_anew(runs, tmp_path, separator, encoding):
    path = write(tmp_path / "downloads", runs["old"])
    path.write_text(path.read_text().replace(",", separator), encoding=encoding)
    assert folder_of_reviews(path).name == "old"


def test_a_file_of_a_further_batch_finds_it(runs, tmp_path):
    table = read_assignments(tmp_path / "runs" / "old" / "assignments.csv")
    places = ("runs/old/batches/monday", "week2-results")
    for number, place in enumerate(places, start=2):
        (tmp_path / place).mkdir(parents=True)
        own = table.assign(cluster=table["cluster"] + number)
        own.to_csv(tmp_path / place / "assignments.csv", index=False)
        path = write(tmp_path / "downloads", clusters_fingerprint(own))
        assert folder_of_reviews(path).resolve() == tmp_path / place
    shutil.rmtree(tmp_path / "runs")
    assert folder_of_reviews(path).name == "week2-results"


def test_the_run_of_a_further_batch_is_found(
    assignment, run, sample, command, tmp_path, monkeypatch
):
    """Reviews of the batch may name labelled images too, and a fit compares with the run."""
    folder = tmp_path / "runs" / "one"
    shutil.copytree(run.path, folder)
    inside, outside = folder / "batches" / "monday", tmp_path / "week2-results"
    monkeypatch.chdir(tmp_path)
    for place in (inside, outside):
        place.mkdir(parents=True)
        for name in ("assignments.csv", "assignments.json"):
            shutil.copy(assignment.path.parent / name, place)
        assert run_of_assignments(place).resolve() == folder
        (place / "reviews.csv").write_text(
            f"image_id,label,decision\n{run.manifest['image_id'][0]},ring,relabel\n"
        )
        code, out, err = command("review", place / "reviews.csv")
        assert code == 0, err
        assert str(place / "assignments.csv") in out
    record = json.loads((outside / "assignments.json").read_text())
    (outside / "assignments.json").write_text(json.dumps(record | {"run": "another"}))
    assert run_of_assignments(outside) is None
    assert run_of_assignments(folder) == folder
    (outside / "assignments.json").write_text("[")
    assert run_of_assignments(outside) is None
    (outside / "assignments.json").unlink()
    assert run_of_assignments(outside) is None
