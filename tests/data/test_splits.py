"""Splits keep groups whole and do not depend on the order of files."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.data.splits import make_folds, split_labelled, units_of
from clusterkit.errors import DataError


def manifest(seed: int, n: int, groups: int, classes: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image": [f"{i:03d}.png" for i in range(n)],
            "image_id": [f"{rng.integers(0, max(2, n - 3)):04x}" for _ in range(n)],
            "label": [f"c{rng.integers(classes)}" for _ in range(n)],
            "group": [f"g{g}" if (g := rng.integers(-1, groups)) >= 0 else None for _ in range(n)],
            "split": None,
        },
        dtype=object,
    )


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 60), st.integers(4, 20), st.integers(2, 6))
def test_folds_keep_units_whole_whatever_the_order(seed, n, groups, n_folds):
    rows = manifest(seed, n, groups)
    if len(np.unique(units_of(rows))) < 2:
        return
    folds = make_folds(rows, n_folds, seed)
    for unit in np.unique(units_of(rows)):
        assert len(set(folds[units_of(rows) == unit])) == 1
    for key in ("group", "image_id"):
        assert rows.assign(fold=folds).groupby(key)["fold"].nunique().max() == 1
    order = np.random.default_rng(seed).permutation(n)
    shuffled = rows.iloc[order].reset_index(drop=True)
    assert (make_folds(shuffled, n_folds, seed) == folds[order]).all()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 60))
def test_every_class_trains(seed, n):
    rows = manifest(seed, n, 15)
    try:
        valid = split_labelled(rows, 0.2, seed)
    except DataError:
        return
    assert valid.any()
    assert set(rows["label"][~valid]) == set(rows["label"])


def test_a_given_split_is_kept():
    rows = manifest(0, 30, 10).assign(near=-1)
    rows["split"] = np.where(units_of(rows) % 3 == 0, "valid", "train")
    assert (split_labelled(rows, 0.2, 0) == (rows["split"] == "valid")).all()


@pytest.mark.parametrize("kind", ["bytes", "near", "frame"])
def test_a_copy_of_a_training_image_is_not_held_out(kind, caplog):
    rows = manifest(0, 30, 10).assign(near=-1, group=None, split="train")
    rows["image_id"] = [f"{i:016x}" for i in range(30)]
    rows.loc[[3, 4, 5], "split"] = "valid"
    if kind == "bytes":
        rows.loc[4, "image_id"] = rows["image_id"][20]
    elif kind == "frame":
        rows.loc[[4, 20], "image_id"] = ["00000000deadbeef#0", "00000000deadbeef#7"]
    else:
        rows.loc[[4, 20], "near"] = 0
    assert np.flatnonzero(split_labelled(rows, 0.2, 0)).tolist() == [3, 5]
    assert "1 images that the split column holds out" in caplog.text
    rows.loc[[3, 4, 5, 20], "near"] = 1
    with pytest.raises(DataError, match="split the data anew"):
        split_labelled(rows, 0.2, 0)


def test_one_group_cannot_be_split():
    rows = manifest(0, 20, 1).assign(group="p")
    with pytest.raises(DataError, match="all labelled images belong to one group"):
        make_folds(rows, 3, 0)


def test_classes_within_one_group_each():
    rows = manifest(0, 8, 2, classes=2)
    rows["group"] = rows["label"]
    rows["image_id"] = rows["image"]
    with pytest.raises(DataError, match="no images can be held out"):
        split_labelled(rows, 0.5, 0)
