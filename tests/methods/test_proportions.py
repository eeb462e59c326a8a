"""Intervals of a share: exact without groups, and as wide as it takes with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from clusterkit.methods.proportions import share_interval


@given(st.integers(1, 60), st.data())
def test_without_groups_it_is_that_of_clopper_and_pearson(n, data):
    right = np.arange(n) < data.draw(st.integers(0, n))
    if n < 2:
        assert share_interval(right, np.arange(n), 0.9) == (0.0, 1.0)
        return
    expected = binomtest(int(right.sum()), n).proportion_ci(0.9, method="exact")
    assert share_interval(right, np.arange(n), 0.9) == pytest.approx(tuple(expected))


def test_images_of_a_group_count_for_less():
    right = np.repeat([True, True, True, False], 25)
    groups = np.repeat([0, 1, 2, 3], 25)
    low, high = share_interval(right, groups, 0.95)
    alone = share_interval(right, np.arange(100), 0.95)
    assert low < alone[0] - 0.2
    assert high > alone[1] + 0.1
    # All right: as many images as groups.
    assert share_interval(np.ones(100, bool), groups, 0.95)[0] < 0.5
    assert share_interval(right, np.zeros(100, int), 0.95) == (0.0, 1.0)


@pytest.mark.parametrize(("n_groups", "spread"), [(20, 2.0), (20, 50.0), (60, 5.0)])
def test_the_true_share_is_inside_as_often_as_said(n_groups, spread):
    """Groups with shares of their own around 0.8, some of one image and some of 30."""
    rng, inside, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):
        units = np.repeat(np.arange(n_groups), rng.integers(1, 30, n_groups))
        shares = rng.beta(0.8 * spread, 0.2 * spread, n_groups)
        low, high = share_interval(rng.random(len(units)) < shares[units], units, 0.95)
        inside += low <= 0.8 <= high
    # Three standard errors below.
    assert inside / trials >= 0.95 - 0.033
