"""Images of the split test: learned from by nothing, and labelled as assign does."""

import numpy as np
import pandas as pd
import pytest

from clusterkit import Run, assign, audit, fit, read_manifest
from clusterkit.config import override
from clusterkit.data.labelled import load_labelled
from clusterkit.data.splits import take_out_test
from clusterkit.progress import silent
from clusterkit.reviewing import apply_reviews
from clusterkit.training.final_test import measure_test


@pytest.fixture(scope="module")
def table(sample):
    """The sample's labels, with the last three patients for the test."""
    rows = pd.read_csv(sample / "labels.csv", dtype=str)
    last = sorted(rows["group"].unique())[-3:]
    return rows.assign(split=np.where(rows["group"].isin(last), "test", ""))


@pytest.fixture(scope="module")
def settings(sample, config):
    return override(config, data__images=str(sample), assign__max_error=0.6)


@pytest.fixture(scope="module")
def tested(table, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    table.to_csv(folder / "l.csv", index=False)
    return fit(folder / "l.csv", config=settings, run=folder / "run")


@pytest.mark.slow
def test_nothing_is_learned_from_test_images(tested, table, settings, tmp_path):
    """The run is that of a table without them, to the byte."""
    table[table["split"] == ""].to_csv(tmp_path / "l.csv", index=False)
    alone = fit(tmp_path / "l.csv", config=settings, run=tmp_path / "run")
    assert "test" not in alone.info.metrics
    names = ("manifest.csv", "calibration.json", "history.csv", "gallery.safetensors",
             "weights.safetensors")  # fmt: skip
    for name in names:
        assert (alone.path / name).read_bytes() == (tested.path / name).read_bytes(), name


def test_the_figures_are_those_of_assign(tested, table, sample, settings, tmp_path):
    rows = table[table["split"] == "test"]
    rows[["image", "group"]].to_csv(tmp_path / "u.csv", index=False)
    found = assign(Run.load(tested.path), tmp_path / "u.csv", config=settings,
                   out=tmp_path / "a.csv").table.set_index("image")  # fmt: skip
    truth = rows.set_index("image")["label"].loc[found.index]
    right = found["predicted_label"] == truth
    assigned = found["status"] == "assigned"
    figures = Run.load(tested.path).info.metrics["test"]
    assert figures["images"] == len(rows) == 18
    assert figures["groups"] == 3
    assert figures["accuracy"] == pytest.approx(right.mean())
    assert figures["assigned"] == assigned.sum()
    assert figures["assigned_wrong"] == (assigned & ~right).sum()
    assert 0 <= figures["interval"][0] < figures["accuracy"] < figures["interval"][1] <= 1
    assert figures["left_out"] == {}
    page = audit(tested, assignments=tmp_path / "a.csv", out=tmp_path / "page", config=settings)
    assert "Test accuracy" in page.read_text(encoding="utf-8")


def test_what_tells_nothing_is_not_counted(tested, table, sample, settings, tmp_path, caplog):
    learned = table[table["split"] == ""]
    own = table[table["split"] == "test"].copy()
    own.iloc[0, own.columns.get_loc("label")] = "a class of the test alone"
    # Copies of a training image: its bytes, its pixels, and what is left of a damaged one.
    copied = learned.iloc[[0, 0]].assign(split="test", group=None)
    same, near = tmp_path / "same.png", tmp_path / "near.jpg"
    from PIL import Image

    same.write_bytes((sample / copied["image"].iloc[0]).read_bytes())
    Image.open(same).convert("RGB").save(near, quality=97)
    (tmp_path / "bad.png").write_bytes(same.read_bytes()[:300])
    copied["image"] = [str(same), str(near)]
    bad = copied.iloc[[0]].assign(image=str(tmp_path / "bad.png"))
    rows = pd.concat([own, copied, bad])
    from clusterkit.data.identity import read_identified

    rows["path"] = [str(sample / image) for image in rows["image"]]
    rows["image_id"] = [read_identified(path, None)[1] for path in rows["path"]]
    rows = rows.assign(frame=None, provenance="given").reset_index(drop=True)
    rows.loc[1, "provenance"] = "cluster:3"
    rows.loc[2, "group"] = learned["group"].iloc[0]
    figures = measure_test(tested, rows.astype(object), settings, silent)
    assert figures["images"] == 16
    assert figures["unknown_classes"] == ["a class of the test alone"]
    assert figures["left_out"] == {
        "labelled by their cluster alone": 1, "near duplicates of labelled images": 1,
        "of groups that were learned from": 1, "the same files as labelled images": 1,
        "unreadable": 1,
    }  # fmt: skip
    assert "5 of 21 test images are not counted" in caplog.text
    assert "1 test images are of classes that no training image has" in caplog.text
    none = measure_test(tested, rows.iloc[[1]], settings, silent)
    assert (none["images"], none["accuracy"], none["interval"]) == (0, None, None)


def test_a_review_makes_no_training_image_of_a_test_image(table, sample, settings, tmp_path):
    """Nor of an unlabelled copy of it, nor of another image of its patient."""
    rows = table.copy()
    of_test = rows.index[rows["split"] == "test"]
    rows.loc[of_test[:2], "label"] = ""
    rows.loc[of_test[1], "split"] = ""
    copy = tmp_path / "copy.png"
    copy.write_bytes((sample / rows["image"][of_test[2]]).read_bytes())
    rows.loc[len(rows)] = [str(copy), "", "", ""]
    rows["image"] = [str(sample / image) for image in rows["image"]]
    rows = rows.rename(columns={"image": "path"}).assign(image=table["image"], frame=None)
    rows.loc[len(rows) - 1, "image"] = "copy.png"
    from clusterkit.data.identity import read_identified

    rows["image_id"] = [read_identified(path, None)[1] for path in rows["path"]]
    rows = rows.astype(object).where(rows != "", None)
    ids = rows["image_id"][[of_test[0], of_test[1], of_test[2]]]
    reviews = pd.DataFrame({"image_id": ids, "label": "ring", "decision": "relabel"})
    for column in ("image", "reviewer", "time", "note"):
        reviews[column] = ""
    reviews.to_csv(tmp_path / "reviews.csv", index=False)
    after = apply_reviews(rows, [tmp_path / "reviews.csv"], sample, tmp_path).manifest
    learned, test = take_out_test(after)
    assert set(ids) <= set(test["image_id"])
    assert not set(ids) & set(learned["image_id"])


def test_test_images_are_neither_labelled_nor_counted_as_unlabelled(table, settings, tmp_path):
    table.to_csv(tmp_path / "l.csv", index=False)
    manifest = read_manifest(tmp_path / "l.csv", settings)
    learned, test = take_out_test(manifest)
    assert len(load_labelled(learned, settings, silent).rows) == 36
    assert len(test) == 18
