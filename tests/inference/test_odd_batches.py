"""Batches and labels at the edge of what can be learned from: stated, or simply right."""

import numpy as np
import pandas as pd
import pytest

from clusterkit import assign, fit
from clusterkit.config import config_from_dict
from clusterkit.errors import DataError
from clusterkit.formats.assignments import STATUSES
from tests.conftest import SETTINGS

WIDTH = 24


def table_of(folder, name, labels, rng, groups=True, constant=0, copies=False):
    """Write a manifest and its features, one cloud of points a class; return both paths."""
    n = len(labels)
    centres = 4 * np.eye(6, WIDTH)
    points = centres[labels] + rng.normal(0, 1, (n, WIDTH))
    if copies:
        points[:] = points[0]
    # A network's dead channels.
    points[:, WIDTH - constant :] = 0.0
    images = [f"{name}{i}.png" for i in range(n)]
    rows = {"image": images, "group": [f"{name}{i}" for i in range(n)] if groups else None}
    if name == "labelled":
        rows["label"] = [f"kind{c}" for c in labels]
    path, features = folder / f"{name}.csv", folder / f"{name}.parquet"
    pd.DataFrame(rows).dropna(axis=1).to_csv(path, index=False)
    vectors = pd.DataFrame(points.astype(np.float32), columns=[f"f{i}" for i in range(WIDTH)])
    vectors.insert(0, "image", images)
    vectors.to_parquet(features)
    return path, features


@pytest.fixture
def labelled_batch(tmp_path):
    """Fit to labels (n,) and assign a batch of true classes (m,); returns table and truth."""

    def call(labels, batch, max_error=0.4, **kinds):
        rng = np.random.default_rng(0)
        apart = {"copies": kinds.pop("copies", False)}
        settings = SETTINGS | {"assign": SETTINGS["assign"] | {"max_error": max_error}}
        config = config_from_dict(settings)
        known = table_of(tmp_path, "labelled", np.asarray(labels), rng, **kinds)
        new = table_of(tmp_path, "batch", np.asarray(batch), rng, **kinds, **apart)
        run = fit(known[0], config=config, run=tmp_path / "run", features=known[1])
        return whole(assign(run, new[0], config=config, features=new[1]), len(batch))

    return call


def whole(result, n):
    """Return the table, once it is what a table of n readable images has to be."""
    table = result.table
    assert len(table) == n
    assert set(table["status"]) <= set(STATUSES) - {"failed"}
    assert table["confidence"].between(0, 1).all()
    assert table["novelty_p"].between(0, 1).all()
    for column in ("predicted_label", "label_set", "reason", "classifier_label"):
        assert (table[column].fillna("") != "").all()
    written = pd.read_csv(result.path, encoding="utf-8-sig", keep_default_na=False)
    assert (
        not written[["confidence", "novelty_p", "reason"]].isin(["", "nan", "NaN"]).any(axis=None)
    )
    return table


def right(table, batch):
    return (table.sort_values("image", key=lambda s: s.str.extract(r"(\d+)")[0].astype(int))
            ["predicted_label"].to_numpy() == [f"kind{c}" for c in batch]).mean()  # fmt: skip


MANY = np.repeat([0, 1, 2], 12)


def test_one_image(labelled_batch):
    assert right(labelled_batch(MANY, [1]), [1]) == 1


def test_one_class_only(labelled_batch):
    assert right(labelled_batch(MANY, [2] * 30), [2] * 30) >= 0.9


def test_copies_of_one_picture(labelled_batch):
    table = labelled_batch(MANY, [0] * 25, copies=True)
    assert table["predicted_label"].nunique() == 1
    assert table["confidence"].nunique() == 1


def test_all_refused(labelled_batch):
    table = labelled_batch(MANY, [0, 1, 2] * 5, max_error=0.001)
    assert not (table["status"] == "assigned").any()
    assert table["reason"].str.contains("promised").any()


def test_two_labelled_images_a_class(labelled_batch, caplog):
    batch = [0, 1, 2] * 8
    table = labelled_batch([0, 0, 1, 1, 2, 2], batch)
    assert right(table, batch) > 0.5
    # Six images cannot support more, whatever a score says.
    assert table["confidence"].max() <= 7 / 8
    assert "only 6 labelled images could be held out" in caplog.text


def test_more_classes_than_images(labelled_batch):
    assert right(labelled_batch(np.repeat(np.arange(6), 6), [4, 5]), [4, 5]) == 1


@pytest.mark.parametrize("groups", [True, False])
def test_constant_columns(labelled_batch, groups):
    batch = [0, 1, 2] * 8
    table = labelled_batch(MANY, batch, groups=groups, constant=16)
    assert right(table, batch) >= 0.7


def test_a_class_that_the_batch_lacks(labelled_batch):
    batch = [0, 1] * 15
    table = labelled_batch(MANY, batch)
    assert right(table, batch) >= 0.9


def test_features_of_no_information(labelled_batch, tmp_path):
    """All columns constant: nothing can be told, and that is said before a run is written."""
    with pytest.raises(DataError, match="all 36 images have the same features"):
        labelled_batch(MANY, [0, 1, 2] * 4, constant=WIDTH)
    assert not (tmp_path / "run").exists()
