"""Gate: the classes that an image is compared with, by cumulative classifier probability."""

import numpy as np


def gate_classes(probs: np.ndarray, mass: float, most: int) -> np.ndarray:
    """Smallest sets of classes whose probabilities sum to at least `mass`.

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
        Temperature-scaled classifier probabilities.
    mass : float in (0, 1]
        Cumulative probability that a set has to reach.
    most : int ≥ 1
        Classes per image at most.

    Returns
    -------
    (N, K) bool
        Each row has at least one True.

    >>> gate_classes(np.array([[0.6, 0.3, 0.1], [0.97, 0.02, 0.01]]), 0.85, 5)
    array([[ True,  True, False],
           [ True, False, False]])
    """
    order = np.argsort(-probs, axis=1, kind="stable")
    ranked = np.take_along_axis(probs, order, axis=1)
    # A class is needed while those before it have not reached the mass.
    before = np.cumsum(ranked, axis=1) - ranked
    keep = (before < mass) & (np.arange(probs.shape[1]) < most)
    keep[:, 0] = True
    gate = np.zeros(probs.shape, dtype=bool)
    np.put_along_axis(gate, order, keep, axis=1)
    return gate
