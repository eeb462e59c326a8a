"""Label sets (DESIGN §7.6) and false discoveries (§7.7): against held-out images."""

import math

import numpy as np

# Parts that what is measured on held-out images is crossed over.
_PARTS = 5

# A class has its own threshold if about so many of its held-out images lie beyond it.
_IMAGES_BEYOND = 2


def set_threshold(true_probs: np.ndarray, level: float) -> float:
    """Return the probability at which a class enters the label set (LAC, arXiv 1609.00451).

    Parameters
    ----------
    true_probs : (N,) float in [0, 1]
        Probability that each held-out image was given for its true class.
    level : float in (0, 1)
        A new image's set holds its true class with at least this probability.
    """
    n = len(true_probs)
    rank = math.ceil((n + 1) * level)
    # Too few held-out images for the level: only the set of all classes is honest.
    return 0.0 if rank > n else float(np.sort(true_probs)[::-1][rank - 1])


def class_set_thresholds(
    true_probs: np.ndarray, labels: np.ndarray, n_classes: int, level: float
) -> np.ndarray:
    """Return the probability (K,) at which each class enters the label set.

    A class with enough held-out images has its own threshold, so that a rare class is in its
    sets as often as a common one (Mondrian conformal prediction: Vovk, arXiv 1209.2673). The
    others share that of their images alone: with few of them, they are in every set.

    Parameters
    ----------
    true_probs : (N,) float in [0, 1]
        Probability that each held-out image was given for its true class.
    labels : (N,) int in [0, K)
    n_classes : int
    level : float in (0, 1)
    """
    own = np.bincount(labels, minlength=n_classes) >= _IMAGES_BEYOND / (1 - level)
    thresholds = np.full(n_classes, set_threshold(true_probs[~own[labels]], level))
    for label in np.flatnonzero(own):
        thresholds[label] = set_threshold(true_probs[labels == label], level)
    return thresholds


def label_sets(probs: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Return (N, K) bool: the classes at or above the threshold, the likeliest always.

    `threshold` is one for all classes, or (K,).
    """
    sets = probs >= threshold
    sets[np.arange(len(probs)), probs.argmax(axis=1)] = True
    return sets


def crossed_coverage(
    probs: np.ndarray, labels: np.ndarray, units: np.ndarray, level: float
) -> tuple[float, float]:
    """Return how often label sets hold the true class, and how many classes they hold.

    Measured on held-out images: the thresholds of each fifth of the units come from the others.

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
    labels, units : (N,) int
    level : float in (0, 1)
    """
    rows, parts = np.arange(len(labels)), unit_parts(units)
    true = probs[rows, labels]
    sets = np.ones(probs.shape, dtype=bool)
    for part in np.unique(parts):
        test = parts == part
        known = ~test
        thresholds = class_set_thresholds(true[known], labels[known], probs.shape[1], level)
        sets[test] = label_sets(probs[test], thresholds)
    return float(sets[rows, labels].mean()), float(sets.sum(axis=1).mean())


def unit_parts(units: np.ndarray) -> np.ndarray:
    """Deal units into five parts, each whole: (N,) int in [0, 5)."""
    return np.unique(units, return_inverse=True)[1] % _PARTS
