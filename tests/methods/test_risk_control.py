"""Risk control: bounds, and promises that are broken at most as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.betting import betting_bound
from clusterkit.methods.risk_control import (
    choose_class_thresholds,
    choose_threshold,
    error_bound,
    units_needed,
)


@given(st.integers(0, 60), st.integers(1, 200), st.floats(0.55, 0.99))
def test_bound_is_clopper_pearsons(errors, extra, level):
    n = errors + extra
    losses = np.r_[np.ones(errors), np.zeros(extra)]
    bound = error_bound(losses, level)
    from scipy.stats import binom

    # The bound is the error rate at which so few errors have probability 1 - level.
    assert binom.cdf(errors, n, bound) == pytest.approx(1 - level, abs=1e-6)


def test_needed_units():
    for error in (0.02, 0.05, 0.1, 0.2):
        n = units_needed(error, 0.9)
        for bound in (error_bound(np.zeros(n), 0.9), betting_bound(np.zeros(n), error, 0.9)):
            assert bound <= error
        few = np.zeros(n - 1)
        assert error_bound(few, 0.9) > error < betting_bound(few, error, 0.9)


@pytest.mark.parametrize("max_error", [pytest.param(0.05, marks=pytest.mark.slow), 0.1])
@pytest.mark.parametrize("grouped", [False, True])
def test_promise_is_broken_at_most_as_often_as_it_says(max_error, grouped):
    """400 redraws: the true error above the threshold exceeds E in at most 10% + 2 s.e."""
    rng = np.random.default_rng(7)
    broken = assigned = 0
    redraws, per_unit = 400, 4 if grouped else 1
    for _ in range(redraws):
        # A confidence that is too sure: errors are 1.5 times as common as it says. In a group
        # all images share most of their luck.
        n_units = 150
        confidence = rng.beta(6, 0.6, (n_units, per_unit))
        chance = np.minimum(1, 1.5 * (1 - confidence))
        luck = np.where(grouped, rng.uniform(size=(n_units, 1)), rng.uniform(size=chance.shape))
        correct = luck >= chance
        units = np.repeat(np.arange(n_units), per_unit)
        promise = choose_threshold(confidence.ravel(), correct.ravel(), units, max_error, 0.9)
        if promise.threshold is None:
            continue
        assigned += 1
        fresh = rng.beta(6, 0.6, 20_000)
        accepted = fresh[fresh >= promise.threshold]
        broken += np.minimum(1, 1.5 * (1 - accepted)).mean() > max_error
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / redraws)
    assert assigned > redraws / 4


@pytest.mark.slow
def test_promises_for_each_class_hold_together():
    """300 redraws: the chance that any class's true error is above E is at most 1 - C."""
    rng = np.random.default_rng(11)
    redraws, broken, assigned = 300, 0, 0
    for _ in range(redraws):
        confidence = rng.beta(6, 0.6, 400)
        predicted = rng.integers(0, 2, 400)
        # The second class is wrong three times as often as it says.
        chance = np.minimum(1, np.where(predicted == 1, 3, 1) * (1 - confidence))
        correct = rng.uniform(size=400) >= chance
        promises = choose_class_thresholds(
            confidence, predicted, correct, np.arange(400), 0.1, 0.9, 2
        )
        fresh = rng.beta(6, 0.6, 20_000)
        any_broken = False
        for factor, promise in zip((1, 3), promises, strict=True):
            if promise.threshold is not None:
                assigned += 1
                accepted = fresh[fresh >= promise.threshold]
                any_broken |= np.minimum(1, factor * (1 - accepted)).mean() > 0.1
        broken += any_broken
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.09 / redraws)
    assert assigned > redraws


def test_a_rare_class_cannot_hide_behind_a_common_one():
    predicted = np.repeat([0, 1], [300, 60])
    confidence, correct = np.full(360, 0.99), predicted == 0
    together = choose_threshold(confidence, correct, np.arange(360), 0.25, 0.9)
    each = choose_class_thresholds(confidence, predicted, correct, np.arange(360), 0.25, 0.9, 2)
    assert together.threshold is not None
    assert each[0].threshold is not None
    assert each[1].threshold is None
    assert each[1].more is None


def test_how_many_more_labels_it_takes():
    """With as many more as it says and errors as before, the promise can be made."""
    correct = np.ones(60, dtype=bool)
    confidence = np.linspace(1, 0.5, 60)
    correct[[40, 50, 55]] = False
    promise = choose_threshold(confidence, correct, np.arange(60), 0.1, 0.9)
    assert promise.threshold is not None
    assert promise.more > 0
    factor = 1 + promise.more // 60 + 1
    many = choose_threshold(
        np.tile(confidence, factor), np.tile(correct, factor), np.arange(60 * factor), 0.1, 0.9
    )
    assert many.threshold < promise.threshold
    assert choose_threshold(confidence[:9], correct[:9], np.arange(9), 0.1, 0.9).more == 22 - 9
    sure = choose_threshold(confidence, np.ones(60, dtype=bool), np.arange(60), 0.1, 0.9)
    assert sure.more == 0


def test_nothing_is_promised_from_too_few_groups():
    confidence, correct = np.full(400, 0.99), np.ones(400, dtype=bool)
    promise = choose_threshold(confidence, correct, np.repeat(np.arange(20), 20), 0.05, 0.9)
    assert promise.threshold is None
    assert (promise.available, promise.needed, promise.unit) == (20, 45, "group")
