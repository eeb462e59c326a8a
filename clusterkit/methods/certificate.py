"""A certificate for one batch: how many of its labels are wrong, from a random check of some.

The batch is a finite population of units (images, or patients) whose labels are what they are:
chance is only in which are looked at first, a random order that nobody chose. So nothing is
assumed of the model, of the scanner, or of how patients were found, and the bounds are exact.

The loss of a unit is fixed: 1 if whoever is asked finds its label wrong, whenever they are asked.
Units are looked at without replacement. Against the hypothesis that the losses of all units sum to
at least `total`, a bet is laid on each next unit (Waudby-Smith and Ramdas, "Confidence sequences
for sampling without replacement", arXiv 2006.04347; "Estimating means of bounded random variables
by betting", arXiv 2010.09686, section 5): the wealth is a nonnegative supermartingale that begins
with 1, so that it ever reaches 1 / (1 − level) with a probability of at most 1 − level (Ville,
1939), however often it is looked at and whenever anybody stops. This is a statement about the whole
order, answered or not; so it does not matter who decides, by which answers, how much is seen of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterkit.methods.betting import ROUNDING, log_factors, wealth_needed

# Part of the wealth that is laid on the next unit: as good as the bet of a true error of 0.15
# times the one that is refuted. A larger part needs fewer answers if none is wrong (0.85: 53 at 5%
# and 90%, 0.8: 56, 1: 45) and more if some are (0.85: 97 with one wrong, 1: none is enough).
BET = 0.85


def log_wealth(losses: Sequence[float] | np.ndarray, population: int, total: float) -> np.ndarray:
    """Logarithm of the wealth against "all losses sum to at least `total`", after each unit.

    Before a unit, the mean loss of those that are left is at least μ = (total − losses so far) /
    (units left) if the hypothesis holds. The unit's loss x multiplies the wealth by
    1 + `BET` · (μ − x) / (1 − μ) ≥ 1 − `BET`: 1 on average if the losses sum to `total`, less if to
    more. Its derivative by μ is `BET` · (1 − x) / (1 − μ)² ≥ 0, so the wealth grows with `total`.

    Parameters
    ----------
    losses : (t,) float in [0, 1]
        Of the units in the random order in which they were drawn, t ≤ population.
    population : int
        All units.
    total : float in (0, population]

    Returns
    -------
    (t + 1,) float
        The first is 0. Infinite from where the hypothesis cannot be true, minus infinity from
        where it must be.

    Raises
    ------
    ValueError
        More losses than units.
    """
    x = np.asarray(losses, dtype=float)
    if len(x) > population:
        raise ValueError(f"{len(x)} losses of {population} units")
    missing, left = np.full(len(x) + 1, float(total)), population - np.arange(len(x) + 1)
    missing[1:] -= np.cumsum(x)
    wealth = np.zeros(len(x) + 1)
    mean = missing[:-1] / left[:-1]
    open_ = (mean > 0) & (mean < 1)
    factors = np.zeros(len(x))
    factors[open_] = log_factors(x[open_], mean[open_], BET)
    wealth[1:] = np.cumsum(factors)
    # What is certain: the rest cannot make up the sum, or need not.
    for certain, value in ((missing > left + ROUNDING, np.inf), (missing <= 0, -np.inf)):
        if certain.any():
            wealth[int(certain.argmax()) :] = value
    return wealth


def refuted(
    losses: Sequence[float] | np.ndarray, population: int, total: float, level: float
) -> bool:
    """Whether it is certain, at this level, that all losses sum to less than `total`.

    Valid at every moment: with probability `level` it is never True of a hypothesis that holds,
    however often it is asked. Once True it stays, unless further losses prove the hypothesis.

    Parameters
    ----------
    losses, population, total
        See `log_wealth`; a total above the population is refuted without any loss.
    level : float in (0, 1)
    """
    if total > population:
        return True
    wealth = log_wealth(losses, population, total)
    return bool(wealth[-1] > -np.inf and wealth.max() >= wealth_needed(level))


def null_total(population: int, max_error: float, whole: bool = True) -> float:
    """Smallest sum of losses that is more than the part `max_error` of the population.

    >>> null_total(1204, 0.05), null_total(40, 0.05, whole=False)
    (61, 2.0)

    Parameters
    ----------
    population : int
    max_error : float in [0, 1]
    whole : bool
        Losses are 0 or 1, so that sums are whole numbers; else the border itself.
    """
    most = max_error * population
    return math.floor(most + ROUNDING) + 1 if whole else most


def upper_bound(
    losses: Sequence[float] | np.ndarray, population: int, level: float, whole: bool = True
) -> float:
    """Bound on the sum of all losses, valid at every moment: whatever is larger is refuted.

    For one population, chosen before the first answer. Of a set that the answers chose
    (`certify_in_order`) the level holds for the error that was asked for; this bound, which may be
    lower, holds at the level of each set taken alone.

    Parameters
    ----------
    losses, population, level
        See `refuted`.
    whole : bool
        Losses are 0 or 1; else the bound is rounded up to a ten-thousandth of a unit.

    Returns
    -------
    float in [sum of losses, population − number of losses + sum of losses]
    """
    seen = float(np.sum(losses))
    left = population - len(losses)
    unit = 1.0 if whole else 1e-4
    low, high = 0, left * round(1 / unit)
    # The wealth grows with the total, so one border parts what is refuted from what is not.
    while low < high:
        middle = (low + high + 1) // 2
        if refuted(losses, population, seen + middle * unit, level):
            high = middle - 1
        else:
            low = middle
    # Of sums that are not whole, those up to the next step may not be refuted either.
    return seen + min((low if whole else low + 1) * unit, left)


def answers_needed(
    losses: Sequence[float] | np.ndarray, population: int, total: float, level: float
) -> int | None:
    """Further units without a loss after which a hypothesis is refuted; None: never.

    >>> answers_needed([], 2000, null_total(2000, 0.05), 0.9)
    52

    Parameters
    ----------
    losses, population, total, level
        See `refuted`.
    """
    if refuted(losses, population, total, level):
        return 0
    seen = len(losses)
    all_right = np.r_[np.asarray(losses, dtype=float), np.zeros(population - seen)]
    # What was reached before counts for nothing where losses have proved the hypothesis since.
    ahead = log_wealth(all_right, population, total)[seen:]
    reached = np.flatnonzero(ahead >= wealth_needed(level))
    return int(reached[0]) if len(reached) else None


def hypergeometric_bound(wrong: int, checked: int, population: int, level: float) -> int:
    """Largest number of wrong labels that a check of a fixed number does not refute.

    The exact one (Buonaccorsi, "A note on confidence intervals for proportions in finite
    populations", The American Statistician 41, 1987): the largest M for which at most `wrong` wrong
    ones among `checked` still have a probability of more than 1 − level.
    Valid only if `checked` was fixed before the first answer and nobody stopped before.

    >>> hypergeometric_bound(0, 45, 100_000, 0.9) / 100_000 <= 0.05
    True

    Parameters
    ----------
    wrong, checked, population : int
        0 ≤ wrong ≤ checked ≤ population.
    level : float in (0, 1)
    """
    from scipy.stats import hypergeom

    low, high = wrong, population - checked + wrong
    while low < high:
        middle = (low + high + 1) // 2
        if hypergeom.cdf(wrong, population, middle, checked) > 1 - level + ROUNDING:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True)
class SetState:
    """What the answers so far say of one of the nested sets.

    Attributes
    ----------
    population : int
        Its units.
    losses : (t,) float in [0, 1]
        Of its units that count: in the drawn order, up to the first that is not answered.
    certified : bool
        It and all sets before it are refuted to hold more than the error asked for.
    """

    population: int
    losses: np.ndarray
    certified: bool


def certify_in_order(
    populations: Sequence[int],
    losses: Sequence[np.ndarray],
    max_error: float,
    level: float,
    whole: bool = True,
) -> list[SetState]:
    """Test nested sets one after the other, each at the full level, up to the first that fails.

    A fixed sequence (Maurer, Hothorn and Lehmacher, 1995; Learn-then-Test, arXiv 2110.01052): with
    probability `level` no set that holds more than the error is ever certified, for the first such
    set would have to be, and its test alone is at that level. The sets, their order and that of
    their units must have been fixed before the first answer. What is asked, and when, may depend on
    all answers: a set's test reads its own units in their own order, and is at its level over the
    whole of that order, of which the asking only decides how much is seen.

    Parameters
    ----------
    populations : (J,) int
        Units of each set.
    losses : J arrays of float in [0, 1]
        See `SetState`.
    max_error, level : float in (0, 1)
    whole : bool
        Losses are 0 or 1.
    """
    states, holds = [], True
    for population, seen in zip(populations, losses, strict=True):
        total = null_total(population, max_error, whole)
        holds = holds and refuted(seen, population, total, level)
        states.append(SetState(population, np.asarray(seen, dtype=float), holds))
    return states


def _needed(level: float) -> float:
    return math.inf if level >= 1 else -math.log(1 - level) - ROUNDING
