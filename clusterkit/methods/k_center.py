"""Greedy k-center: exemplars of each class, spread out over it."""

import numpy as np


def choose_exemplars(features: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Exemplars (N,) bool: at most `most` images per class, spread out over the class.

    Greedy k-center (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5). The first is the image
    nearest the mean of its class, each next one the farthest from those chosen. No image of the
    class is farther from a chosen one than twice the best possible.

    Parameters
    ----------
    features : (N, D) float
    labels : (N,) int
    most : int ≥ 1
        Exemplars per class at most; a class with fewer images keeps them all.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= most:
            chosen[rows] = True
            continue
        points = features[rows].astype(np.float64)
        place = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
        nearest = np.full(len(rows), np.inf)
        for _ in range(most):
            chosen[rows[place]] = True
            nearest = np.minimum(nearest, ((points - points[place]) ** 2).sum(axis=1))
            place = int(np.argmax(nearest))
    return chosen
