"""Bets: the bound is a naive grid's, holds as often as it says, and is sharper than Hoeffding's."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.bounds import DISTRIBUTIONS, draw_losses, hoeffding_bound
from clusterkit.methods.betting import (
    bet,
    betting_bound,
    log_factors,
    seeded_order,
    units_to_certify,
)
from clusterkit.methods.risk_control import choose_threshold, units_needed

losses_in_order = st.lists(
    st.one_of(st.just(0.0), st.sampled_from([0.1, 0.5, 1.0]), st.floats(0, 1)),
    min_size=1, max_size=60,
)  # fmt: skip
errors, levels = st.floats(0.005, 0.6), st.floats(0.55, 0.99)


@given(losses_in_order, errors, levels)
def test_the_bound_is_that_of_a_naive_grid(losses, max_error, level):
    part, refuted = bet(len(losses), max_error, level), 1 / (1 - level)
    grid = np.linspace(0.001, 0.999, 999)

    def wealth(mean: float) -> float:
        most, now = 0.0, 1.0
        for loss in losses:
            now *= 1 + part * (mean - loss) / (1 - mean)
            most = max(most, now)
        return most

    border = next((m for m in grid if wealth(m) >= refuted), 1.0)
    bound = betting_bound(np.array(losses), max_error, level)
    assert np.mean(losses) <= bound <= 1
    # The border lies in the step before the first point of the grid that is refuted.
    assert border - 0.001 - 1e-9 <= bound or border == 1.0
    assert bound <= max(border, np.mean(losses)) + 1e-9
    # The error of the inversion: just above the bound is refuted.
    if bound < 0.999:
        assert wealth(bound + 1e-9) >= refuted * (1 - 1e-8)
        assert bound <= np.mean(losses) + 1e-12 or wealth(bound - 1e-9) <= refuted * (1 + 1e-6)


# Of what is all but bet, rounding must not decide.
@example([1.0], 0.4921875, 0.0078125, 1 - 2**-53)
@given(losses_in_order, st.floats(0.01, 0.98), st.floats(0.001, 0.01), st.floats(0, 1))
def test_wealth_grows_with_the_mean_that_is_refuted(losses, mean, step, part):
    x = np.array(losses)
    with np.errstate(invalid="ignore"):
        more = log_factors(x, mean + step, part) - log_factors(x, mean, part)
    assert (more[np.isfinite(more)] >= -1e-9).all()


@given(st.integers(1, 3000), errors, levels)
def test_without_an_error_it_takes_no_more_units_than_the_exact_bound(n, max_error, level):
    assert 0 < bet(n, max_error, level) <= 1
    certified = betting_bound(np.zeros(n), max_error, level) <= max_error
    exact = n * math.log1p(-max_error) - math.log(1 - level)
    if abs(exact) > 1e-8:
        assert certified == (n >= units_needed(max_error, level))


@pytest.mark.parametrize("n", [1, 2, 60, 1000])
def test_the_order_is_one_of_all_units_and_always_the_same(n):
    assert (np.sort(seeded_order(n)) == np.arange(n)).all()
    assert (seeded_order(n) == seeded_order(n)).all()
    assert n < 60 or (seeded_order(n) != np.arange(n)).any()


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("max_error", [0.05, 0.1])
def test_a_mean_that_is_the_error_is_seldom_certified(kind, max_error):
    """At most 10% + 2 s.e. of 1,000 draws of 60 or 100 groups."""
    _is_seldom_certified(kind, max_error, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("max_error", [0.02, 0.05, 0.1, 0.2])
def test_a_mean_that_is_the_error_is_seldom_certified_of_many_draws(kind, max_error):
    _is_seldom_certified(kind, max_error, 10_000)


def _is_seldom_certified(kind, max_error, draws):
    rng = np.random.default_rng(3)
    for n in (60, 100, 150):
        part = bet(n, max_error, 0.9)
        losses = draw_losses(rng, kind, max_error, (draws, n))
        wealth = np.cumsum(log_factors(losses, max_error, part), axis=1).max(axis=1)
        assert (wealth >= math.log(10)).mean() <= 0.1 + 2 * math.sqrt(0.09 / draws)


def _false_promises(draws, max_error, seed, n=80, images=10):
    """Part of draws in which a threshold is set though the error is `max_error` above each."""
    rng, false = np.random.default_rng(seed), 0
    units = np.repeat(np.arange(n), images)
    for _ in range(draws):
        # Confidence says nothing of the error, so that each threshold has the same; patients
        # share their luck.
        wrong = rng.beta(max_error * 1.5, (1 - max_error) * 1.5, n)[units] > rng.uniform(size=800)
        promise = choose_threshold(rng.uniform(size=800), ~wrong, units, max_error, 0.9)
        false += promise.threshold is not None
    return false / draws


def test_no_sequence_of_thresholds_breaks_the_promise_too_often():
    assert _false_promises(200, 0.05, 5) <= 0.1 + 2 * math.sqrt(0.09 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("max_error", [0.05, 0.1, 0.2])
def test_no_sequence_of_thresholds_breaks_the_promise_too_often_of_many(max_error):
    assert _false_promises(1500, max_error, 6) <= 0.1 + 2 * math.sqrt(0.09 / 1500)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_it_certifies_more_often_than_hoeffdings_bound(kind):
    rng = np.random.default_rng(8)
    draws = [x for n in (60, 80, 100) for x in draw_losses(rng, kind, 0.02, (60, n))]
    ours = sum(betting_bound(x, 0.05, 0.9) <= 0.05 for x in draws)
    assert ours > sum(hoeffding_bound(x, 0.9) <= 0.05 for x in draws)


def test_how_many_units_it_takes():
    losses = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1], 6)
    units = units_to_certify(losses, 0.05, 0.9)
    assert 45 < units < 100
    many = np.resize(losses, 2 * units)
    assert betting_bound(many, 0.05, 0.9) <= 0.05
    assert units_to_certify(np.full(9, 0.05), 0.05, 0.9) is None
    assert units_to_certify(np.r_[np.zeros(9), 1.0], 0.05, 0.9) is None
    # Near the error the bets become small enough to win all the same.
    assert units_to_certify(np.r_[np.zeros(21), 1.0], 0.05, 0.9) > 1000


def test_the_order_in_which_images_are_listed_changes_nothing():
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(80), 5)
    confidence, correct = rng.uniform(size=400), rng.uniform(size=400) > 0.01
    listed = rng.permutation(400)
    one = choose_threshold(confidence, correct, units, 0.1, 0.9)
    other = choose_threshold(confidence[listed], correct[listed], units[listed], 0.1, 0.9)
    assert one == other
