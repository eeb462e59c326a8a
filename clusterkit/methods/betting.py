"""Bets on losses in [0, 1]: how much money refutes that their mean is as large as claimed.

Against "the mean is m", a part of the wealth is laid on each next loss being smaller (Waudby-Smith
and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686). A fair
game wins nothing in the long run: if the mean is m or more, the wealth, which begins with 1, ever
reaches 1 / (1 − level) with a probability of at most 1 − level (Ville, 1939).
"""

import math

import numpy as np

# On the logarithm of the wealth and on sums of losses: rounding of some thousand terms. It adds a
# thousand-millionth to the probability of an error, as a part of itself.
ROUNDING = 1e-9

# How a bet shrinks as units become more: see `bet`. 1 is Hoeffding's; losses of groups are seldom
# all or nothing, so a bolder one wins more often (`python -m benchmarks.bounds`).
_BOLDNESS = 1.5

# Seed of the order in which units are looked at.
_ORDER = 20100686

# Units up to which an estimate of how many it takes is looked for.
_MOST_UNITS = 10_000_000


def log_factors(losses: np.ndarray, mean: np.ndarray | float, part: float) -> np.ndarray:
    """Logarithm of what each loss x multiplies the wealth by: 1 + part · (m − x) / (1 − m).

    At least 1 − part, and 1 on average if the mean of x is m, less if it is larger. The derivative
    by m is part · (1 − x) / (1 − m)² ≥ 0: the wealth grows with the mean that is refuted.

    Parameters
    ----------
    losses : (t,) float in [0, 1]
    mean : (t,) float or float in (0, 1)
        m, before each loss.
    part : float in [0, 1]
        Of the wealth that may be lost; minus infinity where all of it is.
    """
    # The same sum without a difference: near 0, rounding would decide whether it grows.
    with np.errstate(divide="ignore"):
        return np.log((1 - part) + part * (1 - losses) / (1 - mean))


def wealth_needed(level: float) -> float:
    """Logarithm of the wealth that refutes a hypothesis at a level in (0, 1]; infinite at 1."""
    return math.inf if level >= 1 else -math.log(1 - level) - ROUNDING


def seeded_order(n: int) -> np.ndarray:
    """Places (n,) of n units in the order in which they are bet on: the same for every call.

    Drawn by a fixed seed from the number of units alone: it knows neither their losses nor their
    confidence, which the losses go with. A manifest's own order will not do, for that is often
    sorted by class.
    """
    return np.argsort(np.random.default_rng(_ORDER).permutation(n))


def bet(n: int, max_error: float, level: float) -> float:
    """Part of the wealth laid on each of n units, in (0, 1], to refute a mean of `max_error`.

    1 − (q / E)^1.5, where q is the largest mean of n losses that Hoeffding (1963, theorem 1,
    doi:10.1080/01621459.1963.10500830) would certify. It knows n, E and the level, and no loss.
    With 1 − q / E the wealth reaches what it must wherever Hoeffding's bound certifies:
    exp(−s·x), on which that bound rests, is at most the chord 1 − x·(1 − exp(−s)), and that is
    this bet. Of so few units that none may be wrong all is laid, and n that suffice for Hoeffding
    without a loss suffice here: the wealth is at least 1 + (1 − q / E)·E / (1 − E) to the power n.

    >>> [round(bet(n, 0.05, 0.9), 2) for n in (45, 100, 400)]
    [1.0, 0.9, 0.57]
    """
    from scipy.optimize import brentq

    excess = math.log(1 / (1 - level)) / n
    if relative_entropy(0.0, max_error) <= excess:
        return 1.0
    q = brentq(lambda mean: relative_entropy(mean, max_error) - excess, 0.0, max_error)
    return max(1e-6, float(1 - (q / max_error) ** _BOLDNESS))


def betting_bound(losses: np.ndarray, max_error: float, level: float) -> float:
    """Upper confidence bound in [0, 1] on the mean of independent losses, by `bet`.

    A mean m is refuted if the wealth against it is ever enough on the way through the losses. Each
    factor grows with m (`log_factors`, whose part does not depend on m), and so do products of
    them and the largest of these: one border parts what is refuted from what is not. Bisection
    returns the upper end of it, above the border by less than 1e-12. The bound is never below the
    mean of the losses, though early luck may have refuted that.

    Parameters
    ----------
    losses : (n,) float in [0, 1]
        In an order that does not depend on them: see `seeded_order`.
    max_error : float in (0, 1)
        Which error the bet is chosen to refute; the bound holds for any, if it and the level were
        chosen before the losses were seen.
    level : float in (0, 1)

    >>> round(betting_bound(np.zeros(45), 0.05, 0.9), 3)
    0.05
    """
    part, wanted = bet(len(losses), max_error, level), wealth_needed(level)
    low, high = 0.0, 1.0
    while high - low > 1e-13:
        middle = (low + high) / 2
        wealth = np.cumsum(log_factors(losses, middle, part))
        low, high = (low, middle) if wealth.max() >= wanted else (middle, high)
    return max(high, float(np.mean(losses)))


def units_to_certify(losses: np.ndarray, max_error: float, level: float) -> int | None:
    """Estimate how many units with losses like these certify `max_error` by their bets.

    That many lose, on average, as these do. None: their mean is `max_error` or more, or so near
    to it that no number that anybody has is enough.

    >>> units_to_certify(np.zeros(60), 0.05, 0.9)
    45

    Parameters
    ----------
    losses, max_error, level
        See `betting_bound`.
    """
    if np.mean(losses) >= max_error:
        return None

    def enough(n: int) -> bool:
        growth = log_factors(losses, max_error, bet(n, max_error, level)).mean()
        return bool(n * growth >= wealth_needed(level))

    # With all laid, one loss of 1 would lose all: fewer units may do, and more not.
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_UNITS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def relative_entropy(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, in nats; q in (0, 1)."""
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)
