"""Exemplars by greedy k-centre."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.k_center import choose_exemplars


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(2, 4))
def test_exemplars_are_as_spread_out_as_twice_the_best(seed, most):
    points = np.random.default_rng(seed).normal(size=(9, 2))
    labels = np.zeros(9, dtype=int)
    chosen = np.flatnonzero(choose_exemplars(points, labels, most))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)

    def radius(centres) -> float:
        return distance[:, list(centres)].min(axis=1).max()

    assert len(chosen) == most
    # Its first centre is the one nearest the mean: twice the best that holds it.
    best = min(radius(c) for c in combinations(range(9), most))
    assert radius(chosen) <= 2 * best + 1e-9


def test_all_are_exemplars_where_there_are_few():
    labels = np.array([0, 0, 1, 1, 1, 1])
    chosen = choose_exemplars(np.arange(12.0).reshape(6, 2), labels, 3)
    assert chosen[:2].all()
    assert chosen[2:].sum() == 3
