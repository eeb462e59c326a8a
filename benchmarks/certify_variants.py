"""A certificate from unequal probabilities and from control variates, at the same validity.

Shekhar, Xu, Lipton, Liang and Ramdas (arXiv 2305.06884): unit i of those that are left, R, is drawn
with probability q = w / Σ w over R; with a forecast s of its loss x, Z = Σ s over R + (x − s) / q
is on average the sum of the losses in R. A bet against "at least M are left" multiplies the wealth
by 1 + λ (M − Z), λ the largest that keeps it above 1 − `BET`. With w = 1 and s = 0 this is the test
of `clusterkit.methods.certificate`. Weights are ε + (1 − ε) · (1 − confidence) / mean; successive
draws by weight are the order of exponential times / w, so one order serves all nested sets.
"""

from dataclasses import dataclass

import numpy as np

from clusterkit.methods.asking import next_to_ask
from clusterkit.methods.certificate import BET, null_total
from clusterkit.methods.nested_sets import nested_sets


@dataclass(frozen=True)
class Variant:
    """How units are drawn and what is forecast.

    Attributes
    ----------
    even : float in (0, 1]
        Weight of equal probabilities; 1: all are equal.
    forecast : float in [0, 1]
        Part of 1 − confidence that is the control variate; 0: none.
    """

    even: float
    forecast: float


VARIANTS = {
    "plain": Variant(1.0, 0.0),
    "weights, half even": Variant(0.5, 0.0),
    "weights, 0.8 even": Variant(0.8, 0.0),
    "control variate": Variant(1.0, 1.0),
    "half control variate": Variant(1.0, 0.5),
    "half even, half control variate": Variant(0.5, 0.5),
}


def log_wealth_of(
    losses: np.ndarray, weights: np.ndarray, forecasts: np.ndarray, total: float
) -> np.ndarray:
    """Return the logarithm of the wealth after each answer of one set.

    Parameters
    ----------
    losses : (t,) float
        Of the units answered so far, in the order.
    weights, forecasts : (N,) float
        Of all units of the set, in the order.
    total : float
    """
    n, t = len(weights), len(losses)
    w, s = weights[:t], forecasts[:t]
    weight_left = weights.sum() - np.r_[0, np.cumsum(w)[:-1]][:t]
    forecast_left = forecasts.sum() - np.r_[0, np.cumsum(s)[:-1]][:t]
    missing = total - np.r_[0, np.cumsum(losses)]
    estimate = forecast_left + (losses - s) * weight_left / w
    highest = forecast_left + (1 - forecasts.min()) * weight_left / weights.min()
    factors, least = np.ones(t), missing[:-1]
    open_ = (highest > least) & (least > 0)
    stake = BET / (highest[open_] - least[open_])
    factors[open_] += stake * (least[open_] - estimate[open_])
    wealth = np.r_[0, np.cumsum(np.log(factors))]
    wealth[missing > n - np.arange(t + 1) + 1e-9] = np.inf
    return wealth


def walk_variant(
    confidence: np.ndarray,
    right: np.ndarray,
    error: float,
    level: float,
    variant: Variant,
    budgets: tuple[int, ...],
    seed: list[int],
) -> tuple[list[float], bool]:
    """Check as `certify` asks; returns the part certified at each budget, and if it is false."""
    n, sets = len(confidence), nested_sets(confidence, error)
    doubt = 1 - confidence
    weights = variant.even + (1 - variant.even) * doubt / max(doubt.mean(), 1e-9)
    order = np.argsort(np.random.default_rng(seed).exponential(size=n) / weights)
    member, truth = sets.member[order], 1.0 - right[order]
    weights, forecasts = weights[order], variant.forecast * doubt[order]
    losses, certified = np.full(n, np.nan), np.zeros(len(sets), dtype=bool)

    def holds(j: int) -> bool:
        inside = member <= j
        open_ = np.isnan(losses[inside])
        seen = losses[inside][: int(open_.argmax()) if open_.any() else None]
        total = null_total(len(open_), error)
        if total > len(open_) or seen.sum() >= total:
            return total > len(open_)
        wealth = log_wealth_of(seen, weights[inside], forecasts[inside], total)
        return bool(wealth.max() >= -np.log(1 - level) - 1e-9)

    parts: list[float] = []
    for budget in budgets:
        for _ in range(budget - int(np.isfinite(losses).sum())):
            rank = next_to_ask(member, losses, certified)
            if rank is None:
                break
            losses[rank] = truth[rank]
            while not certified.all() and holds(int(certified.argmin())):
                certified[certified.argmin()] = True
        parts.append(int(sets.sizes[certified].max(initial=0)) / n)
    inside = sets.member < certified.sum()
    return parts, bool(inside.any() and (~right[inside]).mean() > error + 1e-9)
