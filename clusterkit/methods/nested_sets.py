"""Nested sets of labels, each with all those before it: what a certificate may be about.

Only the model's confidence decides them, before anybody has looked at an answer: a test of one
set after the other (`certificate`) needs an order that the answers have no part in.
"""

import math
from dataclasses import dataclass

import numpy as np

# The first set is the largest whose labels the model expects to be wrong at this part of the
# error that is asked for. Calibration is seldom as good as its word: of sets that were expected to
# hold half of the error, some held more than all of it.
_EXPECTED = 0.05
# Fewest labels of the first set: of fewer, nearly all would have to be looked at.
_LEAST = 60
# Each set has so many times the labels of the one before it.
_STEP = 1.15


@dataclass(frozen=True)
class NestedSets:
    """Sets 0, 1, … of labels, each with all labels of the sets before it; the last holds all.

    Attributes
    ----------
    member : (N,) int
        The first set that each label belongs to.
    sizes : (J,) int
        Labels of each set.
    least_confidence : (J,) float
        Lowest confidence of a label in each set.
    """

    member: np.ndarray
    sizes: np.ndarray
    least_confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)


def nested_sets(
    confidence: np.ndarray, max_error: float, last: np.ndarray | None = None
) -> NestedSets:
    """Sets of the most confident labels, from those that are expected to hold outward to all.

    Labels of one confidence are in the same sets: a set is told by its lowest confidence.

    Parameters
    ----------
    confidence : (N,) float in [0, 1], N ≥ 1
        Probability that each label is right. It need not be true.
    max_error : float in (0, 1)
        Share of wrong labels that is to be certified.
    last : (N,) bool or None
        Labels that come after all others whatever their confidence, such as those of images that
        are like nothing labelled.

    Raises
    ------
    ValueError
        A confidence is not a number.
    """
    n = len(confidence)
    if np.isnan(confidence).any():
        raise ValueError(f"confidence of label {int(np.isnan(confidence).argmax())} is no number")
    held_back = np.zeros(n, dtype=bool) if last is None else last
    order = np.lexsort((-confidence, held_back))
    ranked, back = confidence[order], held_back[order]
    # Where the next label has another confidence: only there may a set end.
    ends = np.flatnonzero(np.r_[(ranked[1:] != ranked[:-1]) | (back[1:] != back[:-1]), True]) + 1
    expected = np.cumsum(1 - ranked) / np.arange(1, n + 1)
    safe = np.flatnonzero(expected <= _EXPECTED * max_error)
    size = max(int(safe[-1]) + 1 if len(safe) else 1, min(n, _LEAST))
    sizes: list[int] = []
    while not sizes or sizes[-1] < n:
        sizes.append(int(ends[np.searchsorted(ends, size)]))
        size = min(n, max(sizes[-1] + 1, math.ceil(size * _STEP)))
    member = np.empty(n, dtype=int)
    member[order] = np.searchsorted(sizes, np.arange(n), side="right")
    lowest = np.minimum.accumulate(ranked)[np.array(sizes) - 1]
    return NestedSets(member, np.array(sizes), lowest)
