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
    rows = manifest(0, 30, 10)
    rows["split"] = ["valid" if i % 3 == 0 else "train" for i in range(30)]
    assert (split_labelled(rows, 0.2, 0) == (rows["split"] == "valid")).all()


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
