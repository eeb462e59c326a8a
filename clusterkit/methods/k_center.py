"""Exemplars: which labelled images new ones are compared with, where there are too many."""

import numpy as np


def choose_exemplars(features: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Choose at most `most` images of each class, spread out over the class.

    Greedy k-center (Gonzalez 1985): each next one is the farthest from those chosen, beginning
    with the one nearest the mean. No image of the class is farther from a chosen one than twice
    the best possible.

    Parameters
    ----------
    features : (N, D) float
    labels : (N,) int
    most : int

    Returns
    -------
    (N,) bool
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
