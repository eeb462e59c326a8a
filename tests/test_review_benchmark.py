"""The benchmark of the review loop decides as a person does on the page, and runs."""

import json
import sys

import pandas as pd
import pytest

from benchmarks import review_loop
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.reviews import FURTHER_COLUMNS, REVIEW_COLUMNS, spread_reviews

# A cluster of new ones with a stranger, a mixed one, a single image, and a label that is set.
CLUSTERS = [0] * 12 + [1] * 4 + [2] + [None]
TRUTH = ["new"] * 11 + ["a"] + ["a", "b", "c", "new"] + ["b"] + ["a"]


@pytest.fixture
def table():
    n = len(CLUSTERS)
    return pd.DataFrame({
        "image": [f"{i}.png" for i in range(n)],
        "image_id": [f"ab{i:014x}" for i in range(n)],
        "status": ["novel"] * 12 + ["review"] * 5 + ["assigned"],
        "predicted_label": "a",
        "cluster": pd.array(CLUSTERS, dtype="Int64"),
        "group": "",
        "order": pd.array([*range(n - 1, 0, -1), 0], dtype="Int64"),
    })  # fmt: skip


def truth_of(table):
    return pd.Series(TRUTH, index=table["image"])


def test_decisions_are_those_of_the_page(table, tmp_path):
    truth = truth_of(table)
    found = review_loop.review(table, truth, looks=13, seed=0)
    assert list(found) == [*REVIEW_COLUMNS, FURTHER_COLUMNS[0]]
    # Ten of the cluster before its name, then one by one in the order of --ask.
    assert found["image_id"][0] == "cluster:0"
    checked, alone = found[1:11], found[11:]
    assert set(checked["image"]) <= set(table["image"][:12])
    assert alone["image"].tolist() == ["16.png", "15.png", "14.png"]
    for row in found[1:].itertuples():
        aside = row.note == "not new"
        assert row.decision == ("reject" if aside else "accept" if row.label == "a" else "relabel")
        assert row.label == ("" if aside else truth[row.image])
        assert aside == (row.Index <= 10 and truth[row.image] != "new")
    path = tmp_path / "reviews.csv"
    found.to_csv(path, index=False)
    spread = spread_reviews(path, Assigned(table, tmp_path, "t"), table.assign(label=None)[:0])
    labels = spread.spread.drop_duplicates("image_id", keep="last")
    assert set(spread.spread["provenance"]) == {"reviewed", "cluster:0"}
    assert len(labels) == 12 + 3


def test_a_mixed_cluster_gets_no_name(table):
    table["cluster"] = pd.array([*[1] * 12, *CLUSTERS[12:]], dtype="Int64")
    truth = truth_of(table).where(lambda found: found != "new", "b")
    truth[:8] = list("abcdefgh")
    found = review_loop.review(table, truth, looks=40, seed=0)
    assert not found["image_id"].str.startswith("cluster:").any()
    assert len(found) == 17


@pytest.mark.long
def test_it_runs_and_says_what_was_gained(sample, config, tmp_path, monkeypatch, capsys):
    truth = pd.read_csv(sample / "truth.csv", keep_default_na=False).drop_duplicates("image")
    case = review_loop.Case("demo", "rosette", 0, sample / "labels.csv",
                            sample / "unlabeled.csv", truth.set_index("image")["label"],
                            config)  # fmt: skip
    monkeypatch.setattr(review_loop, "demo_case", lambda *_: case)
    out = tmp_path / "loop.csv"
    monkeypatch.setattr(sys, "argv", ["review_loop", "--quick", "--looks", "15", "--out", str(out)])
    review_loop.main()
    (row,) = json.loads(out.with_suffix(".json").read_text())
    assert row["looked_at"] == 15
    assert row["right_after"] > row["right_before"]
    assert 0 <= row["purity"] <= 1
    assert pd.read_csv(out)["right_after"][0] == pytest.approx(row["right_after"])
    assert "→" in capsys.readouterr().out
