"""Pseudo-labels: which unlabelled images are taken with the class that is predicted for them."""

import numpy as np


def choose_balanced(probs: np.ndarray, proportions: np.ndarray, share: float) -> np.ndarray:
    """Rows of the likeliest images of each predicted class, in proportion to the classes.

    iLPC (Lazarou et al., arXiv 2012.07962) takes the same number of each class; here each class
    gives as many as its share of the images is thought to be. One threshold for all classes
    would take those alone that are easy to tell, and the next model would forget the others.

    Parameters
    ----------
    probs : (N, K) float
    proportions : (K,) float, sums to 1
        Of the classes among the N images.
    share : float in [0, 1]
        Of all images; fewer are taken where a class is predicted less often than it should be.

    Returns
    -------
    (m,) int
        Ascending. Of equally likely images the first are taken.

    >>> probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.8, 0.2]])
    >>> choose_balanced(probs, np.array([0.5, 0.5]), 0.5)
    array([0, 2])
    """
    predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
    wanted = np.rint(share * len(probs) * proportions).astype(int)
    taken = np.zeros(len(probs), dtype=bool)
    for label, most in enumerate(wanted):
        rows = np.flatnonzero(predicted == label)
        taken[rows[np.argsort(-confidence[rows], kind="stable")[:most]]] = True
    return np.flatnonzero(taken)
