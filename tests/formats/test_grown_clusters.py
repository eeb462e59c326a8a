"""A name that a cluster got before its table grew is one of the images that were shown then."""

from pathlib import Path

import pandas as pd
import pytest

from clusterkit.errors import DataError
from clusterkit.formats.assignment_record import BatchRecord
from clusterkit.formats.known_images import Assigned, clusters_fingerprint
from clusterkit.formats.review_settling import settle, summarise
from clusterkit.formats.reviews import spread_reviews

NONE = pd.DataFrame({"image_id": [], "label": []}, dtype=object)


def rows_of(clusters: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({
        "image": [f"{name}.png" for name in clusters],
        "image_id": [f"{ord(name):015x}a" for name in clusters],
        "status": "review",
        "predicted_label": "rod",
        "cluster": pd.array(list(clusters.values()), dtype="Int64"),
        "group": "",
    })  # fmt: skip


# What was shown in three weeks; of the first, b is gone since and c has changed.
FIRST, SECOND, NOW = (
    rows_of({"a": 7, "b": 7, "c": 7, "d": 8}),
    rows_of({"a": 7, "b": 7, "c": 7, "d": 8, "e": 7}),
    rows_of({"a": 7, "d": 8, "e": 7, "c": 7, "f": 7, "g": 9}),
)
SHOWN = [clusters_fingerprint(table) for table in (FIRST, SECOND, NOW)]


@pytest.fixture
def assigned():
    batches = (
        BatchRecord(2, [], clusters=[SHOWN[0]]),
        BatchRecord(1, ["e.png"], clusters=[SHOWN[1]]),
        BatchRecord(3, ["c.png", "f.png", "g.png"]),
    )
    return Assigned(NOW, Path(), "a.csv", "", (), batches)


def reviews_of(folder: Path, *rows: str) -> Path:
    path = folder / "reviews.csv"
    path.write_text("\n".join(["image_id,image,label,decision,time,assignments", *rows]) + "\n")
    return path


def labels(reviews) -> dict[str, str]:
    settled = settle([reviews], NONE)
    return {chr(int(i[:-1], 16)): label
            for i, label in zip(settled["image_id"], settled["label"], strict=True)}  # fmt: skip


@pytest.mark.parametrize(("week", "meant"), [(0, "a"), (1, "ae"), (2, "aecf")])
def test_a_name_is_of_what_was_shown(assigned, tmp_path, week, meant):
    # The image that stood for the cluster may be gone.
    row = f"cluster:7,{'b.png' if week < 2 else 'a.png'},ring,relabel,,{SHOWN[week]}"
    found = spread_reviews(reviews_of(tmp_path, row), assigned, NONE)
    assert labels(found) == dict.fromkeys(meant, "ring")
    (said,) = summarise([found], settle([found], NONE), NONE)["clusters"]
    assert (said["size"], said["taken"]) == (len(meant), len(meant))


def test_the_last_word_on_a_cluster_is_of_its_own_images(assigned, tmp_path):
    first = f"cluster:7,,ring,relabel,2026-01-02T10:00:00Z,{SHOWN[0]}"
    now = f"cluster:7,,dots,relabel,2026-01-01T10:00:00Z,{SHOWN[2]}"
    # As the times are, whatever the order of the rows.
    for rows in ((first, now), (now, first)):
        found = spread_reviews(reviews_of(tmp_path, *rows), assigned, NONE)
        assert labels(found) == {"a": "ring"}
    later = now.replace("2026-01-01", "2026-01-03")
    found = spread_reviews(reviews_of(tmp_path, later, first), assigned, NONE)
    assert labels(found) == dict.fromkeys("aecf", "dots")


def test_a_cluster_of_which_nothing_is_left_is_no_fault(assigned, tmp_path):
    gone = Assigned(NOW.iloc[1:], Path(), "a.csv", "", (), assigned.batches)
    found = spread_reviews(reviews_of(tmp_path, f"cluster:7,,ring,relabel,,{SHOWN[0]}"), gone, NONE)
    assert labels(found) == {}
    with pytest.raises(DataError, match="its clusters are others"):
        spread_reviews(reviews_of(tmp_path, "cluster:7,,ring,relabel,,x0123"), gone, NONE)
