"""The sample is a random one: nobody chooses it, every image is as likely, anybody can redo it."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.certifying.drawn_sample import draw_sample, reachable_sets, units_of_sets
from clusterkit.certifying.population import population_of
from clusterkit.errors import DataError


def table_of(confidence, groups=None, statuses=None, salt=0):
    n = len(confidence)
    ids = [hashlib.sha256(f"{salt} {i}".encode()).hexdigest()[:16] for i in range(n)]
    return pd.DataFrame({
        "image": [f"{i}.png" for i in range(n)], "image_id": ids,
        "status": statuses or ["assigned"] * n, "predicted_label": ["ring"] * n,
        "confidence": np.asarray(confidence, dtype=float), "group": groups or [""] * n,
    })  # fmt: skip


def test_it_can_be_drawn_again_by_hand():
    table = table_of(np.linspace(0.5, 1, 50))
    population = population_of(table, "image", seed=4)
    lines = "".join(sorted(
        f"{i}\tring\t{c:.6f}\t\t0\n"
        for i, c in zip(table["image_id"], table["confidence"], strict=True)
    ))  # fmt: skip
    assert population.fingerprint == hashlib.sha256(lines.encode()).hexdigest()
    start = f"4\n{population.fingerprint}\n"
    digest = {i: hashlib.sha256(f"{start}image {i}".encode()).hexdigest()
              for i in table["image_id"]}  # fmt: skip
    by_hand = sorted(table["image_id"], key=digest.__getitem__)
    drawn = population.table["image_id"].to_numpy()[np.argsort(population.unit)]
    assert drawn.tolist() == by_hand


def test_every_image_is_as_likely_to_be_first_whatever_its_confidence():
    """400 batches: of the sure half and the unsure one as many come first (fixed seeds)."""
    first, places = np.zeros(20), np.zeros(20)
    for seed in range(400):
        population = population_of(table_of(np.linspace(0, 1, 20), salt=seed), "image", seed)
        first[int(population.unit.argmin())] += 1
        places += population.unit
    expected = 400 / 20
    assert ((first - expected) ** 2 / expected).sum() < 43.8  # 0.999 of chi-square, 19 degrees
    spread = np.sqrt((20**2 - 1) / 12 / 400)
    assert np.abs(places / 400 - 9.5).max() < 4 * spread


def test_another_label_gives_another_order():
    table = table_of(np.linspace(0.5, 1, 40))
    one = population_of(table, "image", 0)
    table.loc[7, "predicted_label"] = "rod"
    other = population_of(table, "image", 0)
    assert one.fingerprint != other.fingerprint
    assert (one.unit != other.unit).sum() > 20
    # The order of rows, and the seed, are no part of the labels.
    again = population_of(table.sample(frac=1, random_state=1), "image", 0)
    assert again.fingerprint == other.fingerprint


def test_what_is_not_to_be_certified_is_left_out():
    table = table_of([0.9] * 6, statuses=["assigned", "duplicate", "failed", "novel", "review",
                                          "review"])  # fmt: skip
    table.loc[5, "image_id"] = table.loc[4, "image_id"]
    population = population_of(table, "image", 0)
    assert population.rows.tolist() == [0, 3, 4]
    assert population.novel.tolist() == [False, True, False]
    with pytest.raises(DataError, match="no label to certify"):
        population_of(table[1:3], "image", 0)
    with pytest.raises(DataError, match="--by group needs a group"):
        population_of(table, "group", 0)


@given(st.integers(2, 120), st.integers(1, 60), st.integers(0, 5), st.booleans(), st.data())
def test_the_listed_units_of_each_set_are_its_first_without_a_gap(n, budget, seed, by, data):
    rng = np.random.default_rng(seed)
    confidence = data.draw(st.sampled_from([rng.random(n), rng.random(n).round(1), np.ones(n)]))
    groups = [f"p{k}" if k else "" for k in rng.integers(0, max(2, n // 4), n)]
    if by and not any(groups):
        groups[0] = "p1"
    population = population_of(table_of(confidence, groups), "group" if by else "image", seed)
    sets = population.nested_sets(0.1)
    units = units_of_sets(population, sets)
    assert units[-1] == population.units
    reach = reachable_sets(units, 0.1, 0.9, budget, not by)
    sample = draw_sample(population, sets, reach, budget)
    assert sample["unit"].is_monotonic_increasing
    assert sample["image_id"].is_unique
    listed = set(sample["image_id"])
    for number in range(reach):
        inside = sets.member <= number
        order = np.unique(population.unit[inside])
        whole = [
            set(population.table["image_id"][inside & (population.unit == unit)]) <= listed
            for unit in order
        ]
        reached = whole.index(False) if False in whole else len(whole)
        images = int((inside & (population.unit < (order[reached] if reached < len(order)
                                                   else population.units))).sum())  # fmt: skip
        # So many answers never come to an image that is not listed.
        assert images >= min(budget, int(inside.sum()))
