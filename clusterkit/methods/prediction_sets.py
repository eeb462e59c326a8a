"""Prediction sets: split conformal label sets, marginal and per class (Mondrian)."""

import math

import numpy as np

# Parts of the units that coverage is cross-validated over.
_PARTS = 5

# A class has its own threshold if about so many of its held-out images lie beyond it.
_IMAGES_BEYOND = 2


def set_threshold(true_probs: np.ndarray, level: float) -> float:
    """Probability from which on a class is in the label set (split conformal, LAC).

    The ``⌈(n + 1)·level⌉``-th highest probability of a true class among held-out images
    (Sadinle, Lei and Wasserman, arXiv 1609.00451).

    Parameters
    ----------
    true_probs : (N,) float in [0, 1]
        Probability of the true class of each held-out image.
    level : float in (0, 1)
        A new image's set holds its true class with at least this probability.

    Returns
    -------
    float in [0, 1]
        0, so that all classes are in each set, where the images are too few for the level.
    """
    n = len(true_probs)
    rank = math.ceil((n + 1) * level)
    # Too few held-out images for the level: only the set of all classes is honest.
    return 0.0 if rank > n else float(np.sort(true_probs)[::-1][rank - 1])


def images_needed(level: float) -> int:
    """Fewest held-out images whose `set_threshold` leaves classes out, ``level / (1 − level)``.

    >>> [images_needed(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)]
    [1, 4, 9, 19, 99, 999]
    """
    n = max(1, math.floor(level / (1 - level)) - 1)
    # Rounded as `set_threshold` rounds.
    while math.ceil((n + 1) * level) > n:
        n += 1
    return n


def class_set_thresholds(
    true_probs: np.ndarray, labels: np.ndarray, n_classes: int, level: float
) -> np.ndarray:
    """Probabilities (K,) from which on each class is in the label set.

    A class with ``2 / (1 - level)`` held-out images or more has its own threshold, so that the
    sets of a rare class hold it as often as those of a common one (Mondrian conformal
    prediction: Vovk, arXiv 1209.2673). The other classes share one threshold, of their own
    images alone. With few of these, they are in every set.

    Parameters
    ----------
    true_probs : (N,) float in [0, 1]
        Probability of the true class of each held-out image.
    labels : (N,) int in [0, K)
    n_classes : int
    level : float in (0, 1)
    """
    own = _have_own_threshold(labels, n_classes, level)
    thresholds = np.full(n_classes, set_threshold(true_probs[~own[labels]], level))
    for label in np.flatnonzero(own):
        thresholds[label] = set_threshold(true_probs[labels == label], level)
    return thresholds


def classes_in_every_set(labels: np.ndarray, n_classes: int, level: float) -> np.ndarray:
    """Classes (K,) bool of which too few images are held out to leave them out of any set.

    Parameters
    ----------
    labels : (N,) int in [0, K)
        Of held-out images.
    n_classes : int
    level : float in (0, 1)

    >>> classes_in_every_set(np.repeat([0, 1], [30, 3]), 3, 0.9)
    array([False,  True,  True])
    """
    own = _have_own_threshold(labels, n_classes, level)
    shared = int((~own[labels]).sum())
    return ~own & (shared < images_needed(level))


def _have_own_threshold(labels: np.ndarray, n_classes: int, level: float) -> np.ndarray:
    return np.bincount(labels, minlength=n_classes) >= _IMAGES_BEYOND / (1 - level)


def label_sets(probs: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Label sets (N, K) bool: the classes at or above the threshold, the likeliest always.

    Parameters
    ----------
    probs : (N, K) float
    threshold : float or (K,) float
        For all classes, or per class.
    """
    sets = probs >= threshold
    sets[np.arange(len(probs)), probs.argmax(axis=1)] = True
    return sets


def crossed_coverage(
    probs: np.ndarray, labels: np.ndarray, units: np.ndarray, level: float
) -> tuple[float, float]:
    """Coverage of the true class by label sets, and their mean size, by cross-validation.

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


def crossing_parts(folds: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Part numbers (N,) that weights are cross-fitted over: the folds, or with one `unit_parts`."""
    return folds if len(np.unique(folds)) > 1 else unit_parts(units)


def unit_parts(units: np.ndarray) -> np.ndarray:
    """Part numbers (N,) in [0, 5): units dealt into five parts, each whole."""
    return np.unique(units, return_inverse=True)[1] % _PARTS
