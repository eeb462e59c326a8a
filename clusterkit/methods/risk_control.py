"""Risk control: the lowest confidence threshold whose error is provably small."""

import math
from dataclasses import dataclass

import numpy as np

from clusterkit.methods.betting import (
    betting_bound,
    relative_entropy,
    seeded_order,
    units_to_certify,
)

# Each tested threshold accepts so many times the units of the one before.
_STEP = 1.15


@dataclass(frozen=True)
class Promise:
    """Selective risk promised for the assigned labels, and the evidence for it.

    Attributes
    ----------
    max_error, level : float
        With probability `level` (over the draw of held-out units) at most `max_error` of the
        assigned labels are wrong.
    threshold : float or None
        Lowest confidence that is assigned; None: no threshold keeps the promise.
    bound : float or None
        Upper confidence bound of the error at that threshold.
    accepted, errors : int
        Held-out images at or above the threshold, and how many of them were wrong.
    units : int
        Groups (or images, where they have no group) among the accepted.
    available, needed : int
        Units held out, and the fewest that could certify `max_error` (with no error at all).
    more : int or None
        Estimated number of further labelled units with which more images can be assigned, at
        the error rate seen; 0: all are assigned already; None: that rate is above `max_error`.
    unit : str
        ``"group"`` or ``"image"``.
    """

    max_error: float
    level: float
    threshold: float | None
    bound: float | None
    accepted: int
    errors: int
    units: int
    available: int
    needed: int
    more: int | None
    unit: str


def units_needed(max_error: float, level: float) -> int:
    """Fewest error-free units that certify `max_error`: the least n with (1 − E)ⁿ ≤ 1 − level.

    By Clopper and Pearson's bound for images, and by `betting_bound` for groups.

    >>> units_needed(0.05, 0.9)
    45
    """
    return math.ceil(math.log(1 - level) / math.log(1 - max_error))


def no_promise(max_error: float, level: float) -> Promise:
    """Promise that assigns nothing, as no whole group was held out."""
    needed = units_needed(max_error, level)
    return Promise(
        max_error=max_error, level=level, threshold=None, bound=None, accepted=0, errors=0,
        units=0, available=0, needed=needed, more=needed, unit="group",
    )  # fmt: skip


def error_bound(losses: np.ndarray, level: float) -> float:
    """Upper confidence bound in [0, 1] on the chance of an error, from independent images.

    The exact one of Clopper and Pearson (1934, doi:10.1093/biomet/26.4.404).

    Parameters
    ----------
    losses : (n,) float, 0 or 1
    level : float in (0, 1)

    >>> round(error_bound(np.zeros(45), 0.9), 3)
    0.05
    """
    # scipy.stats would hold up assign's first batch, which needs no bound.
    from scipy.stats import beta

    n, errors = len(losses), int(np.sum(losses))
    return 1.0 if errors == n else float(beta.ppf(level, errors + 1, n - errors))


def choose_threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    units: np.ndarray,
    max_error: float,
    level: float,
    grouped: bool | None = None,
) -> Promise:
    """Promise with the lowest threshold on confidence that keeps the error bound ≤ `max_error`.

    Thresholds are tested in an order fixed by `max_error` and `level` alone (those that accept
    n, 1.15·n, … units, n being the fewest that can certify anything), and testing stops at the
    first that fails: fixed-sequence testing keeps the level without a correction
    (Learn-then-Test, arXiv 2110.01052; selective risk, SGR, arXiv 1705.08500).
    The error of a unit is the fraction of wrong labels among its accepted images, so with
    groups the promise is about the mean error per group. It is bounded by bets (`betting_bound`)
    on the groups in an order that knows neither errors nor confidence; that of single images by
    `error_bound`. Which of the two is never read off the errors.

    Parameters
    ----------
    confidence : (N,) float in [0, 1]
        Of held-out images, which fitted neither the weights nor the fusion.
    correct : (N,) bool
    units : (N,) int
        Images of one unit share a number; units are drawn independently of each other.
    max_error, level : float in (0, 1)
    grouped : bool or None
        A unit may have several images; None: True where one has.
    """
    available = len(np.unique(units))
    binary = available == len(units) if grouped is None else not grouped
    needed = units_needed(max_error, level)
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], ~correct[order].astype(bool)
    # Numbered by the place in the order in which they are bet on.
    place_of = seeded_order(available)[np.unique(units, return_inverse=True)[1][order]]
    _, first_seen = np.unique(place_of, return_index=True)
    first_seen.sort()
    chosen: tuple[float, float, int, int, int] | None = None
    more: int | None = max(0, needed - available)
    for count in _sequence(needed, available):
        lowest = ranked[first_seen[count - 1]]
        n = int(np.searchsorted(-ranked, -lowest, side="right"))
        losses = _losses(place_of[:n], wrong[:n])
        highest = error_bound(losses, level) if binary else betting_bound(losses, max_error, level)
        if highest > max_error:
            more = _more_units(losses, available, max_error, level, binary)
            break
        chosen = (float(lowest), highest, n, int(wrong[:n].sum()), len(losses))
    threshold, bound, accepted, errors, used = chosen or (None, None, 0, 0, 0)
    return Promise(
        max_error=max_error, level=level, threshold=threshold, bound=bound, accepted=accepted,
        errors=errors, units=used, available=available, needed=needed, more=more,
        unit="image" if binary else "group",
    )  # fmt: skip


def choose_class_thresholds(
    confidence: np.ndarray,
    predicted: np.ndarray,
    correct: np.ndarray,
    units: np.ndarray,
    max_error: float,
    level: float,
    n_classes: int,
) -> list[Promise]:
    """Promises (K) with a threshold per predicted class, that all hold together.

    Bonferroni's correction: each is made at level ``1 − (1 − level) / K``. A rare class whose
    labels are mostly wrong cannot hide behind a common one that is mostly right.

    Parameters
    ----------
    confidence, predicted, correct, units : (N,)
        See `choose_threshold`; predicted are class numbers in [0, K).
    n_classes : int
    """
    each = 1 - (1 - level) / n_classes
    # A property of the data, not of the images that happen to be predicted as one class.
    grouped = len(np.unique(units)) < len(units)
    promises = []
    for label in range(n_classes):
        of_class = predicted == label
        promises.append(
            choose_threshold(
                confidence[of_class], correct[of_class], units[of_class], max_error, each, grouped
            )
        )
    return promises


def _more_units(
    losses: np.ndarray, available: int, max_error: float, level: float, binary: bool
) -> int | None:
    """Estimated number of further units that certify losses like these."""
    mean = float(np.mean(losses))
    if not binary:
        wanted: float | None = units_to_certify(losses, max_error, level)
    elif mean >= max_error:
        wanted = None
    else:
        # Hoeffding's bound is near the exact one, and has no steps.
        wanted = math.log(1 / (1 - level)) / relative_entropy(mean, max_error)
    if wanted is None:
        return None
    return max(1, math.ceil(available * (wanted / len(losses) - 1)))


def _losses(place_of: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Parts (u,) of wrong images of each unit that has some, in the order of their places."""
    images = np.bincount(place_of)
    seen = images > 0
    return np.bincount(place_of, wrong)[seen] / images[seen]


def _sequence(needed: int, available: int) -> list[int]:
    """Numbers of units to be accepted at the tested thresholds, rising."""
    counts, count = [], float(needed)
    while count < available:
        counts.append(math.ceil(count))
        count *= _STEP
    return sorted({*counts, available}) if needed <= available else []
