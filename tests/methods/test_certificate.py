"""Certificates: every formula recomputed naively, and false ones at most as often as they say."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.certificate import (
    BET,
    answers_needed,
    certify_in_order,
    hypergeometric_bound,
    log_wealth,
    null_total,
    refuted,
    upper_bound,
)
from clusterkit.methods.nested_sets import nested_sets

LEVEL = 0.9
NEEDED = -math.log(1 - LEVEL) - 1e-9


def bet_on(losses, population, total):
    """Wealth after each unit, in fractions; 0 only where a bet is lost, as a martingale has it."""
    wealth, seen = [Fraction(1)], Fraction(0)
    for done, loss in enumerate(losses):
        mean = (total - seen) / (population - done)
        factor = Fraction(1) if mean in (0, 1) else 1 + Fraction(BET) * (mean - loss) / (1 - mean)
        wealth.append(wealth[-1] * factor)
        seen += loss
    return wealth


fractions = st.floats(0, 1)
binary = st.sampled_from([0.0, 1.0])


@st.composite
def checks(draw, values=fractions):
    """Losses of some units of a population, and a total."""
    population = draw(st.integers(1, 60))
    losses = draw(st.lists(values, max_size=population))
    return losses, population, draw(st.floats(1e-3, population))


@pytest.mark.parametrize(
    "units",
    [
        [0, 0, 0, 0, 0, 1],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1],
        [Fraction(1, 3), Fraction(1, 2), 0, 0, 1],
        [Fraction(2, 3), Fraction(2, 3), Fraction(1, 7), Fraction(1, 2), 0],
    ],
)
def test_wealth_is_one_on_average_at_the_border_and_never_more_above(units):
    orders = list(itertools.permutations(map(Fraction, units)))
    actual, population = sum(map(Fraction, units)), len(units)
    for total in (actual, actual * Fraction(9, 10), actual * Fraction(1, 2)):
        for checked in range(1, population):
            # Where losses have made up the total the hypothesis is proved, and all bets are off.
            means = [
                bet_on(order[:checked], population, total)[-1]
                for order in orders
                if sum(order[:checked]) < total
            ]
            assert sum(means) / len(orders) <= 1
    for checked in range(population + 1):
        wealth = [bet_on(order[:checked], population, actual)[-1] for order in orders]
        assert sum(wealth) / len(orders) == 1
    for order in orders[:24]:
        ours = log_wealth([float(loss) for loss in order], population, float(actual))
        exact = bet_on(order, population, actual)
        for checked in range(population):
            if sum(order[:checked]) < actual:
                assert ours[checked] == pytest.approx(math.log(exact[checked]), abs=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_a_hypothesis_that_holds_is_refuted_at_most_as_often_as_said(level):
    """Exactly: all orders of all populations of up to 9 labels, at the moment that looks best."""
    for population in range(1, 10):
        for wrong in range(1, population + 1):
            refutations, orders = 0, 0
            for where in itertools.combinations(range(population), wrong):
                losses = np.zeros(population)
                losses[list(where)] = 1
                refutations += any(
                    refuted(losses[:checked], population, wrong, level)
                    for checked in range(population + 1)
                )
                orders += 1
            assert refutations <= (1 - level) * orders + 1e-9


@given(checks())
def test_wealth_grows_with_the_total(check):
    losses, population, total = check
    for more in (total * 1.01, total + 1):
        if more <= population:
            assert (log_wealth(losses, population, total) <= log_wealth(losses, population, more)
                    + 1e-7).all()  # fmt: skip


@given(checks(), st.floats(0.5, 0.99))
def test_what_is_certain_is_said(check, level):
    losses, population, total = check
    wealth = log_wealth(losses, population, total)
    assert wealth[0] == 0
    assert len(wealth) == len(losses) + 1
    seen = np.cumsum(np.r_[0, losses])
    assert (wealth[seen >= total] == -np.inf).all()
    impossible = total - seen > population - np.arange(len(seen)) + 1e-6
    assert (wealth[impossible] == np.inf).all()
    assert refuted(losses, population, total, level) == (
        seen[-1] < total and wealth.max() >= -math.log(1 - level) - 1e-9
    )


def test_losses_that_prove_the_hypothesis_end_a_certificate():
    right = [0.0] * 60
    assert refuted(right, 100, 6, LEVEL)
    assert refuted([*right, 1, 1, 1, 1, 1], 100, 6, LEVEL)
    # Six of a hundred are known to be wrong: whatever it looked like before, it is not at most 5.
    assert not refuted([*right, 1, 1, 1, 1, 1, 1], 100, 6, LEVEL)
    assert answers_needed([*right, 1, 1, 1, 1, 1, 1], 100, 6, LEVEL) is None


def test_more_losses_than_units_are_an_error():
    with pytest.raises(ValueError, match="3 losses of 2 units"):
        log_wealth([0, 0, 0], 2, 1)


@given(st.integers(1, 10**6), st.fractions(0, 1, max_denominator=1000))
def test_null_total_is_the_first_that_is_more(population, error):
    total = null_total(population, float(error))
    assert total == math.floor(error * population) + 1
    assert null_total(population, float(error), whole=False) == pytest.approx(error * population)


def test_rounding_does_not_make_the_claim_stricter():
    assert 0.29 * 100 < 29
    assert null_total(100, 0.29) == 30


@settings(deadline=None)
@given(checks(binary), st.floats(0.5, 0.99))
def test_bound_is_the_largest_that_is_not_refuted(check, level):
    losses, population, _ = check
    seen = int(sum(losses))
    most = population - len(losses) + seen
    kept = [total for total in range(seen, most + 1)
            if not refuted(losses, population, total, level)]  # fmt: skip
    assert upper_bound(losses, population, level) == max(kept)
    # No hole in it: totals are refuted from one on.
    assert kept == list(range(seen, max(kept) + 1))


@settings(deadline=None)
@given(checks(), st.floats(0.5, 0.99))
def test_bound_of_fractions_is_above_what_is_not_refuted(check, level):
    losses, population, _ = check
    bound = upper_bound(losses, population, level, whole=False)
    seen, rest = sum(losses), population - len(losses)
    assert seen - 1e-9 <= bound <= seen + rest + 1e-9
    # Within rounding of what is impossible anyway, nothing is said to be certain.
    assert refuted(losses, population, bound + 1e-7, level) or bound >= seen + rest - 1e-7
    assert bound - 1.1e-4 <= seen or not refuted(losses, population, bound - 1.1e-4, level)


def test_everything_checked_is_exact():
    assert upper_bound([0, 1, 0, 1], 4, LEVEL) == 2
    assert upper_bound([1 / 3, 0.5], 2, LEVEL, whole=False) == pytest.approx(5 / 6, abs=1e-12)
    assert upper_bound([0], 1, LEVEL) == 0
    assert upper_bound([], 1, LEVEL) == 1
    assert refuted([0], 1, 1, LEVEL)
    assert not refuted([1], 1, 1, LEVEL)


@pytest.mark.parametrize("population", [1, 2, 30, 80])
def test_no_error_at_all_takes_a_full_check(population):
    total = null_total(population, 0.0)
    assert total == 1
    needed = answers_needed([], population, total, LEVEL)
    # The last tenth may be left: one wrong label would have been found in nine of ten orders.
    assert needed >= hypothetical_least(population, total)
    assert needed <= population
    assert refuted(np.zeros(needed), population, total, LEVEL)


def hypothetical_least(population, total):
    """Fewest labels of which one wrong of `total` would show with probability `LEVEL`."""
    return next(
        checked
        for checked in range(population + 1)
        if hypergeometric_bound(0, checked, population, LEVEL) < total
    )


@settings(deadline=None)
@given(checks(binary), st.floats(0.5, 0.99))
def test_answers_needed_are_the_first_that_suffice(check, level):
    losses, population, total = check
    counted = [more for more in range(population - len(losses) + 1)
               if refuted([*losses, *[0] * more], population, total, level)]  # fmt: skip
    needed = answers_needed(losses, population, total, level)
    assert needed == (counted[0] if counted else None)


def test_an_error_free_set_costs_little_more_than_the_least_possible():
    for error in (0.02, 0.05, 0.1):
        total = null_total(10**6, error)
        least = math.ceil(math.log(0.1) / math.log(1 - error))
        assert answers_needed([], 10**6, total, LEVEL) / least <= 1.2


@pytest.mark.parametrize("population", [1, 5, 12])
def test_hypergeometric_bound_by_counting(population):
    for checked in range(population + 1):
        for wrong in range(checked + 1):
            kept = []
            for many in range(wrong, population - checked + wrong + 1):
                ways = sum(
                    math.comb(many, found) * math.comb(population - many, checked - found)
                    for found in range(wrong + 1)
                )
                if Fraction(ways, math.comb(population, checked)) > Fraction(1, 10):
                    kept.append(many)
            assert hypergeometric_bound(wrong, checked, population, LEVEL) == max(kept)


def best_moment(losses, total):
    """Losses up to the moment at which the certificate looks best."""
    return losses[: int(log_wealth(losses, len(losses), total).argmax())]


@pytest.mark.parametrize(("population", "error"), [(300, 0.1), (1000, 0.05), (1000, 0.02)])
def test_false_certificates_are_as_rare_as_said(population, error):
    """The true error is just above E, and whoever checks stops when it looks best."""
    rng, runs = np.random.default_rng([22, population]), 6000
    total = null_total(population, error)
    losses = np.r_[np.ones(int(total)), np.zeros(population - int(total))]
    false = sum(
        refuted(best_moment(rng.permutation(losses), total), population, total, LEVEL)
        for _ in range(runs)
    )
    # And the test is not idle: the level is nearly used up.
    assert 0.08 <= false / runs <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / runs)


@pytest.mark.parametrize("images", [2, 7])
def test_false_certificates_by_group_are_as_rare_as_said(images):
    rng = np.random.default_rng(20)
    shares = rng.binomial(images, rng.beta(0.3, 3, 150)) / images
    total = null_total(150, shares.mean() - 1e-6, whole=False)
    false = sum(
        refuted(best_moment(rng.permutation(shares), total), 150, total, LEVEL) for _ in range(2000)
    )
    assert false / 2000 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 2000)


@pytest.mark.parametrize("kind", ["honest", "shuffled", "reversed", "equal", "every set bad"])
def test_a_fixed_sequence_certifies_a_bad_set_as_rarely(kind):
    """The largest set certified at any moment holds more than E in at most 10% and 2 s.e."""
    rng, runs, error, false, some = np.random.default_rng(21), 500, 0.1, 0, 0
    for _ in range(runs):
        confidence = rng.beta(6, 0.7, 600)
        wrong = rng.uniform(size=600) < 1.3 * (1 - confidence)
        if kind == "shuffled":
            confidence = rng.permutation(confidence)
        elif kind == "reversed":
            confidence = 1 - confidence
        elif kind == "equal":
            confidence = np.full(600, 0.8)
        sets = nested_sets(confidence, error)
        if kind == "every set bad":
            wrong[:], have = False, 0
            for j, size in enumerate(sets.sizes):
                more = int(null_total(int(size), error)) - have
                wrong[rng.choice(np.flatnonzero(sets.member == j), more, replace=False)] = True
                have += more
        order = rng.permutation(600)
        seen = [wrong[order][sets.member[order] <= j].astype(float) for j in range(len(sets))]
        best = [best_moment(of, null_total(len(of), error)) for of in seen]
        states = certify_in_order(sets.sizes.tolist(), best, error, LEVEL)
        certified = [j for j, state in enumerate(states) if state.certified]
        assert certified == list(range(len(certified)))
        some += bool(certified)
        false += any(seen[j].mean() > error + 1e-9 for j in certified)
    assert false / runs <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / runs)
    assert some > 0.5 * runs or kind != "honest"
