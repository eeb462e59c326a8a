"""Labels of reviews: read as those of a data set are, renamed by the same map."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from clusterkit.data.label_map import LabelMap
from clusterkit.errors import DataError
from clusterkit.formats.review_settling import describe, settle, summarise
from clusterkit.formats.reviews import Assigned, spread_reviews

LABELLED = pd.DataFrame({"image_id": ["L1", "L2"], "label": ["WBC", "01"]})
TABLE = pd.DataFrame(
    {
        "image": ["0.png", "1.png"],
        "image_id": ["id0", "id1"],
        "predicted_label": ["wbc", "Gro\u0308ße"],
        "cluster": pd.array([None, None], dtype="Int64"),
        "group": ["", ""],
    }
)


def settled(folder: Path, *rows: tuple[str, str, str], names: LabelMap | None = None):
    path = folder / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image_id", "label", "decision"), *rows])
    spread = [spread_reviews(path, Assigned(TABLE, folder, "a.csv"), LABELLED, names)]
    found = settle(spread, LABELLED)
    return (
        dict(zip(found["image_id"], found["label"], strict=True)),
        summarise(spread, found, LABELLED),
    )


def test_labels_are_composed_and_trimmed_predictions_too(tmp_path):
    labels, summary = settled(
        tmp_path, ("id0", "\u00a0gro\u0308ße ", "relabel"), ("id1", "", "accept")
    )
    assert labels == {"id0": "größe", "id1": "Größe"}
    assert summary["accepted_otherwise"] == 0


@pytest.mark.parametrize(("label", "near"), [("1", "01"), ("1.0", "01"), ("w-b-c", "WBC")])
def test_did_you_mean(tmp_path, label, near):
    _, summary = settled(tmp_path, ("id1", label, "relabel"))
    assert summary["new_classes"] == {label: near}
    assert any(f"'{label}' (did you mean '{near}'?)" in line for line in describe(summary))


def test_invisible_characters_are_refused_with_the_row(tmp_path):
    with pytest.raises(DataError, match=r"reviews\.csv, line 3: label 'W<U\+200B>BC'"):
        settled(tmp_path, ("id0", "WBC", "relabel"), ("id1", "W\u200bBC", "relabel"))


def test_a_map_renames_old_labels_and_predictions(tmp_path):
    names = LabelMap({"wbc": "WBC", "1": "01", "W\u200bBC": "WBC"})
    labels, summary = settled(
        tmp_path,
        ("id0", "", "accept"), ("id1", "W\u200bBC", "relabel"), ("L1", "1", "relabel"),
        names=names,
    )  # fmt: skip
    assert labels == {"id0": "WBC", "id1": "WBC", "L1": "01"}
    assert summary["new_classes"] == {}
    assert names.unused(LABELLED["label"]) == ""
