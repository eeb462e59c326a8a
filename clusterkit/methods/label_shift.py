"""Label shift: class proportions of a batch by expectation and maximisation.

Labels are often taken in equal numbers per class, while a batch holds what the clinic sees. A
classifier fitted to the labels is then biased on the batch, and its confidence with it.
"""

from collections.abc import Callable, Iterable

import numpy as np

from clusterkit.methods.summation import add_rows

# Weights of the labelled proportions, in labelled units and in images of the batch. A batch
# cannot tell more about its classes than the labels tell about their appearance.
_PRIOR_UNITS = 10.0
_PRIOR_IMAGES = 20.0

_ROUNDS = 500
_CLOSE = 1e-7


def estimate_prior(probs: np.ndarray, labelled: np.ndarray, units: int) -> np.ndarray:
    """Class proportions (K,) of a batch, estimated by expectation and maximisation.

    Saerens, Latinne and Decaestecker (2002, doi:10.1162/089976602753284446), with a Dirichlet
    prior around the labelled proportions: few labelled units (patients) cannot move them far.

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
        Calibrated under the labelled proportions.
    labelled : (K,) float, sums to 1
        Class proportions among the labels.
    units : int
        Labelled units that the calibration rests on.

    Returns
    -------
    (K,) float
        Sums to 1; `labelled` where N is 0.

    >>> sharp = np.repeat([[0.99, 0.01], [0.01, 0.99]], [900, 100], axis=0)
    >>> estimate_prior(sharp, np.array([0.5, 0.5]), 1000).round(2)
    array([0.9, 0.1])
    """
    return estimate_prior_of(lambda: [probs], labelled, units)


def estimate_prior_of(
    parts: Callable[[], Iterable[np.ndarray]], labelled: np.ndarray, units: int
) -> np.ndarray:
    """Class proportions as of `estimate_prior`, from probabilities that come in parts.

    Parameters
    ----------
    parts : callable
        Gives all parts (n, K) anew at each call, in the same order.
    labelled, units
        See `estimate_prior`.
    """
    n = sum(len(part) for part in parts())
    if not n:
        return labelled.copy()
    strength = n * _PRIOR_UNITS / max(units, 1) + _PRIOR_IMAGES
    prior = labelled.copy()
    for _ in range(_ROUNDS):
        before, total = prior, np.zeros(len(labelled))
        for part in parts():
            total = add_rows(total, apply_prior(part, labelled, prior))
        prior = (total + strength * labelled) / (n + strength)
        if np.abs(prior - before).max() < _CLOSE:
            break
    return prior


def apply_prior(probs: np.ndarray, labelled: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Class probabilities (N, K) under other class proportions, by Bayes' rule.

    Each probability is multiplied by prior / labelled, and rows are scaled to sum to 1 (Saerens
    et al. 2002, equation 2.4).

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
        Under the proportions `labelled`.
    labelled, prior : (K,) float, sum to 1
    """
    ratio = np.divide(prior, labelled, out=np.zeros_like(prior), where=labelled > 0)
    weighted = probs * ratio
    total = weighted.sum(axis=1, keepdims=True)
    return np.divide(weighted, total, out=probs.astype(float).copy(), where=total > 0)
