"""Units (patients, or images without one): each counts once, however many images it has."""

import numpy as np

_LEAST_PROB = 1e-6


def unit_weights(units: np.ndarray) -> np.ndarray:
    """Weights (N,) by which each unit counts once, however many images it has."""
    _, index, counts = np.unique(units, return_inverse=True, return_counts=True)
    return 1.0 / counts[index]


def unit_log_likelihood(probs: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mean log-probability (U,) of the true class within each unit.

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
    labels, units : (N,) int
    """
    log_true = np.log(np.maximum(probs[np.arange(len(labels)), labels], _LEAST_PROB))
    return _unit_means(log_true, units)


def unit_brier_score(probs: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mean Brier score (U,) in [0, 2] within each unit, over all classes (Brier 1950).

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
    labels, units : (N,) int
    """
    score = ((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1)
    return _unit_means(score, units)


def _unit_means(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    _, index = np.unique(units, return_inverse=True)
    return np.bincount(index, values) / np.bincount(index)
