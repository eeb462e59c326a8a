"""What a person answered in a check is handed on as a label, and not asked again."""

import csv
import json

import pytest

from clusterkit.errors import DataError
from clusterkit.exporting.export import TARGETS, export
from clusterkit.exporting.output_folder import Names
from clusterkit.exporting.selection import load_batch
from clusterkit.exporting.voxel51_samples import row_samples
from clusterkit.formats.reviews import read_reviews
from tests.exporting.test_export import make_rows, picture

LABELLED = ("folders", "coco", "fiftyone")


@pytest.fixture
def checked(run, tmp_path):
    """Assignments of three images; of two a person has said what they are."""
    ids = [picture(tmp_path / "in" / f"{n}.png", 10 * n) for n in range(3)]
    own = {"status": "reviewed", "confidence": 1.0}
    return make_rows(run, tmp_path, [
        {"image": "0.png", "image_id": ids[0], "status": "assigned"},
        {"image": "1.png", "image_id": ids[1], **own, "predicted_label": run.classes[1]},
        {"image": "2.png", "image_id": ids[2], **own, "predicted_label": "rosette", "cluster": 1},
    ])  # fmt: skip


def test_it_goes_where_labels_go_and_is_not_asked_again():
    assert all("reviewed" in TARGETS[to] for to in (*LABELLED, "xlsx", "parquet", "arrow"))
    assert "reviewed" not in TARGETS["label-studio"]


def test_folders(run, checked, tmp_path):
    found = export(run, "folders", tmp_path / "out", assignments=checked)
    assert found.counts == {"assigned": 1, "reviewed": 2}
    with (tmp_path / "out" / "index.csv").open(encoding="utf-8-sig") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    # A class that only the person knows has a folder too.
    assert rows["2.png"]["file"] == "rosette/2.png"
    assert (tmp_path / "out" / "rosette" / "2.png").is_file()
    assert [rows[f"{n}.png"]["label"] for n in (1, 2)] == [run.classes[1], "rosette"]
    found = export(run, "folders", tmp_path / "some", assignments=checked, status="reviewed")
    assert found.counts == {"reviewed": 2}


def test_coco(run, checked, tmp_path):
    export(run, "coco", tmp_path / "out", assignments=checked)
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    assert list(names.values()) == [*run.classes, "rosette"]
    labels = [names[one["category_id"]] for one in content["annotations"]]
    assert labels == [run.classes[0], run.classes[1], "rosette"]
    # A score is a model's.
    assert ["score" in one for one in content["annotations"]] == [True, False, False]
    assert [one["attributes"]["status"] for one in content["annotations"]][1:] == ["reviewed"] * 2


def test_label_studio_is_told_the_answer_and_gives_it_back(run, checked, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no row with status review or novel; it has 2 reviewed"):
        export(run, "label-studio", out, assignments=checked)
    export(run, "label-studio", out, assignments=checked, status="reviewed")
    tasks = json.loads((out / "tasks.json").read_text())
    assert all("predictions" not in task for task in tasks)
    assert 'value="rosette"' in (out / "label-studio.xml").read_text()
    # As Label Studio exports what it was given.
    for number, task in enumerate(tasks, 1):
        task["id"] = number
        for made in task["annotations"]:
            assert made["ground_truth"] is True
            made |= {"id": number, "completed_by": 1, "was_cancelled": False,
                     "updated_at": "2026-11-29T09:00:00Z"}  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    rows = read_reviews(tmp_path / "export.json")
    assert rows["label"].tolist() == [run.classes[1], "rosette"]
    assert rows["decision"].tolist() == ["accept", "accept"]
    assert rows["ground_truth"].tolist() == ["yes", "yes"]


def test_fiftyone_has_it_as_the_truth_and_no_prediction(run, checked, tmp_path):
    batch = load_batch(run, checked, TARGETS["fiftyone"])
    samples = row_samples(batch, tmp_path, tmp_path, copy=False, names=Names())
    assert [sample.tags for sample in samples] == [("assigned",), ("reviewed",), ("reviewed",)]
    assert [sample.predicted for sample in samples] == [run.classes[0], "", ""]
    assert [sample.known for sample in samples] == ["", run.classes[1], "rosette"]
    assert samples[1].confidence is None
    assert batch.classes == [*run.classes, "rosette"]


def test_an_answer_without_a_label_is_an_error(run, checked, tmp_path):
    text = checked.read_text(encoding="utf-8-sig")
    checked.write_text(text.replace("rosette", ""))
    with pytest.raises(DataError, match="row 3"):
        export(run, "coco", tmp_path / "out", assignments=checked)
