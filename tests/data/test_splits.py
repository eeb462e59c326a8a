"""Splits keep groups whole and do not depend on the order of files."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.data.splits import (
    choose_units,
    make_folds,
    split_labelled,
    take_out_test,
    units_of,
    why_within_groups,
)
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
    caplog.clear()
    rows.loc[[3, 4, 5, 20], "near"] = 1
    held_out = split_labelled(rows, 0.2, 0)
    assert "3 images that the split column holds out" in caplog.text
    assert 0 < held_out.sum() < 30
    assert not held_out[[3, 4, 5, 20]].any() or held_out[[3, 4, 5, 20]].all()


def test_a_class_that_a_given_split_never_trains_on_trains(caplog):
    rows = manifest(0, 30, 10).assign(near=-1, group=None, split="train")
    rows["image_id"] = [f"{i:016x}" for i in range(30)]
    rows.loc[[3, 4, 5], "split"] = "valid"
    rows.loc[4, "label"] = "only held out"
    assert np.flatnonzero(split_labelled(rows, 0.2, 0)).tolist() == [3, 5]
    assert "of a class that has no training image" in caplog.text


def test_a_split_column_without_held_out_images_is_as_good_as_none():
    rows = manifest(0, 30, 10)
    expected = split_labelled(rows, 0.2, 0)
    assert (split_labelled(rows.assign(split="train"), 0.2, 0) == expected).all()


def test_one_unit_cannot_be_split():
    rows = manifest(0, 20, 1).assign(group="p")
    with pytest.raises(DataError, match="no image can be held out"):
        make_folds(rows, 3, 0)


def labelled(*images: tuple[str | None, str]) -> pd.DataFrame:
    """Rows of different images: (group, label) each."""
    groups, labels = zip(*images, strict=True)
    names = [f"{i:016x}" for i in range(len(images))]
    return pd.DataFrame({"image": names, "image_id": names, "group": groups, "label": labels,
                         "split": None}, dtype=object)  # fmt: skip


def of(group: str | None, **counts: int) -> list[tuple[str | None, str]]:
    return [(group, label) for label, n in counts.items() for _ in range(n)]


@pytest.mark.parametrize(("images", "within", "why"), [
    (of("p", a=20, b=20), True, "all labels are of one group"),
    (of("p", a=20, b=20) + of("q", a=9), True, "fewer than two classes"),
    (of("p", a=9) + of("q", b=9), True, "each class is of one group"),
    (of("p", a=5, b=5, c=5) + of("q", b=5, d=5), True, "fewer than two classes"),
    (of("p", a=9, b=9) + [(None, "a")] * 5, True, "all labels are of one group"),
    (of("p", a=9, b=9) + of("q", a=1, b=1), False, ""),
    (of("p", a=9, b=9, c=9) + of("q", a=9, b=9), False, ""),
    (of("p", a=9, b=9, c=9) + of("q", a=9, b=9) + of("r", a=1), False, ""),
    (of(None, a=9, b=9), False, ""),
    # Held out by images no more would be measured.
    (of("p", a=1, b=1), False, ""),
])  # fmt: skip
def test_groups_are_torn_apart_only_where_whole_ones_tell_nothing(images, within, why):
    rows = labelled(*images)
    units, found = choose_units(rows)
    assert found == within
    if within:
        assert len(set(units)) == len(rows)
        assert why in why_within_groups(rows)
        assert why in why_within_groups(rows.fillna({"group": ""}))
    else:
        assert (units == units_of(rows)).all()


def test_copies_of_one_patient_stay_together():
    rows = labelled(*of("p", a=12, b=12)).assign(near=-1)
    rows.loc[[0, 1, 13], "near"] = 0
    rows.loc[[2, 3], "image_id"] = ["00000000deadbeef#0", "00000000deadbeef#7"]
    units, within = choose_units(rows)
    assert within
    for valid in (make_folds(rows, 5, 0, units) == f for f in range(5)):
        assert len(set(valid[[0, 1, 13]])) == len(set(valid[[2, 3]])) == 1
    assert len(set(units)) == 24 - 3


def test_a_given_split_is_measured_as_it_is():
    """Whoever holds out a patient of one class gets that, and no images of the other patient."""
    rows = labelled(*of("p", a=9, b=9), *of("q", a=9))
    rows["split"] = np.where(rows["group"] == "q", "valid", "train")
    units, within = choose_units(rows)
    assert not within
    assert set(rows["group"][split_labelled(rows, 0.2, 0, units)]) == {"q"}


@pytest.mark.parametrize("seed", range(5))
def test_a_single_split_is_found_wherever_there_is_one(seed):
    """Whatever part comes first: holding out q is the only way to lose no class."""
    rows = labelled(*of("p", a=9, b=9, c=9), *of("q", a=9, b=9))
    assert set(rows["group"][split_labelled(rows, 0.2, seed)]) == {"q"}


def test_test_images_and_what_belongs_to_them_are_taken_out():
    rows = labelled(*of("p", a=2, b=2), *of("t", a=1, b=1), *of(None, a=1))
    rows.loc[[4, 5, 6], "split"] = "test"
    open_images = labelled(*of("t", x=1), *of("q", x=1), *of(None, x=3)).assign(label=None)
    open_images["image_id"] = ["1" * 16, "2" * 16, rows["image_id"][6] + "#3", "4" * 16, "5" * 16]
    open_images.loc[4, "split"] = "test"
    learned, test = take_out_test(pd.concat([rows, open_images], ignore_index=True))
    assert learned["image_id"].tolist() == [*rows["image_id"][:4], "2" * 16, "4" * 16]
    assert test["image_id"].tolist() == rows["image_id"][4:].tolist()
    same, none = take_out_test(rows.assign(split=None))
    assert len(same) == 7
    assert not len(none)
    with pytest.raises(DataError, match="all labelled images are of the split 'test'"):
        take_out_test(rows.assign(split="test"))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_units_of_some_rows_are_those_of_all(seed, n):
    rng = np.random.default_rng(seed)
    rows = manifest(seed, n, n).assign(group=None, near=rng.integers(-1, n, n))
    some = np.flatnonzero(rng.random(n) < 0.5)
    near, found = rows["near"].to_numpy()[some], units_of(rows.iloc[some].reset_index(drop=True))
    for i, j in np.argwhere((near[:, None] == near) & (near[:, None] >= 0)):
        assert found[i] == found[j]
