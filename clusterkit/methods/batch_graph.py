"""What the images of a batch say of each other: a student's opinion, and the neighbours'.

A *student* learns from the labels that a classifier is surest of, class by class in the estimated
shares (Lazarou et al., iLPC, arXiv 2012.07962). The opinions of both are *spread* over the graph of
nearest neighbours (Zhou et al., "Learning with local and global consistency", 2004).
"""

from typing import Any

import numpy as np

from clusterkit.methods.fusion import log_softmax
from clusterkit.methods.label_propagation import unit_length
from clusterkit.methods.label_shift import apply_prior, estimate_prior

# Neighbours of an image, and the part of its probabilities that it takes from them.
NEIGHBOURS = 10
SHARE = 0.85

# After these what is still on its way is below 0.85 ** 60, a ten-thousandth.
_SPREADS = 60

# Parts of the batch that the student learns from, round by round, and scikit-learn's C of it.
_TAUGHT = (0.2, 0.4, 0.6, 0.8)
_INVERSE_L2 = 0.2

# A student of more images than these learns from so many, evenly drawn: it has 64 inputs.
_MOST_TAUGHT = 20_000

# No probability is evidence beyond this.
LEAST_PROB = 1e-4

# How sure a known label is.
_KNOWN = 0.9


class Graph:
    """Points, each joined with its `NEIGHBOURS` nearest and those that it is one of these of.

    Parameters
    ----------
    points : (N, P) float
        Compared by their direction.
    """

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self._mean = _mean_of_neighbours(points) if len(points) > 1 else None

    def spread(self, probs: np.ndarray) -> np.ndarray:
        """Spread class probabilities (N, K); rows still sum to 1.

        In each round a point keeps ``1 − SHARE`` of its own and takes `SHARE` of its neighbours'
        mean. One point alone keeps its own.
        """
        spread = probs
        for _ in range(_SPREADS if self._mean is not None else 0):
            spread = (1 - SHARE) * probs + SHARE * (self._mean @ spread)
        return spread

    def opinions(
        self, probs: np.ndarray, labels: np.ndarray, prior: np.ndarray, units: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what a student and the neighbours say of all points.

        Parameters
        ----------
        probs : (N, K) float, rows sum to 1
            A classifier's, under the class shares `prior` (K,).
        labels : (N,) int
            Known classes; -1: not known.
        units : int
            Held-out units, see `estimate_prior`.

        Returns
        -------
        student, spread : (N, K) float, rows sum to 1.
        """
        student = student_probs(self.points, probs, labels, prior, units)
        known = labels >= 0
        start = geometric_mean(probs, student)
        classes = probs.shape[1]
        start[known] = _KNOWN * np.eye(classes)[labels[known]] + (1 - _KNOWN) / classes
        return student, self.spread(start)


def student_probs(
    points: np.ndarray, probs: np.ndarray, labels: np.ndarray, prior: np.ndarray, units: int
) -> np.ndarray:
    """Return probabilities (N, K) by a regression on the labels that a classifier is surest of.

    In each round it learns from a larger part of the points; those whose class is known count as
    much as all others together. Parameters as of `Graph.opinions`. Where no point of some class
    could be taken, it has learned nothing, and `probs` are returned.
    """
    from sklearn.linear_model import LogisticRegression

    scaled = points / np.maximum(points.std(axis=0), 1e-6)
    known, free = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    classes, joined = probs.shape[1], probs
    for part in _TAUGHT if len(free) else ():
        shares = estimate_prior(joined[free], prior, units)
        taken, said = surest(apply_prior(joined[free], prior, shares), shares, part)
        rows, targets = np.r_[known, free[taken]], np.r_[labels[known], said]
        if len(np.unique(targets)) < classes:
            return probs
        weight = np.r_[_balanced(labels[known], classes), _balanced(said, classes)]
        weight[: len(known)] *= max(1, len(said)) / max(1, len(known))
        model = LogisticRegression(C=_INVERSE_L2, max_iter=1000)
        model.fit(scaled[rows], targets, sample_weight=weight)
        student = model.predict_proba(scaled)
        joined = geometric_mean(probs, student)
    return student if len(free) else probs


def surest(
    probs: np.ndarray, shares: np.ndarray, part: float, most: int = _MOST_TAUGHT
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes of the surest points: of each predicted class its share of a part.

    Parameters
    ----------
    probs : (N, K) float
    shares : (K,) float, sum to 1
    part : float in (0, 1]
        Of the N points that are wanted; a class that fewer are called has fewer.
    most : int
        Of more points, so many are taken, evenly over the order of their confidence.

    >>> surest(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0.5, 0.5]), 0.7)
    (array([0, 2]), array([0, 1]))
    """
    said, confidence = probs.argmax(axis=1), probs.max(axis=1)
    taken = []
    for label, share in enumerate(shares):
        called = np.flatnonzero(said == label)
        order = called[np.argsort(-confidence[called], kind="stable")]
        kept = order[: round(part * share * len(probs))]
        taken.append(kept[:: max(1, -(-len(kept) // max(1, round(most * share))))])
    rows = np.concatenate(taken)
    return rows, said[rows]


def geometric_mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the normalised geometric mean (N, K) of class probabilities (N, K)."""
    return np.exp(log_softmax(log_probs(first, second).mean(axis=0)))


def log_probs(*probs: np.ndarray) -> np.ndarray:
    """Return the logarithms (I, N, K) of several class probabilities (N, K), from `LEAST_PROB`."""
    return np.log(np.maximum(np.stack(probs).astype(float), LEAST_PROB))


def _balanced(targets: np.ndarray, classes: int) -> np.ndarray:
    """Return weights (n,) by which each class that is there counts the same; they sum to n."""
    counts = np.bincount(targets, minlength=classes)
    return len(targets) / max(1, (counts > 0).sum()) / np.maximum(counts, 1)[targets]


def _mean_of_neighbours(points: np.ndarray) -> Any:
    """Return the sparse matrix (N, N) by which each point takes the mean of its neighbours."""
    # Slow to import.
    from scipy.sparse import csr_matrix, diags
    from sklearn.neighbors import NearestNeighbors

    points, n = unit_length(points), len(points)
    width = min(NEIGHBOURS, n - 1)
    finder = NearestNeighbors(n_neighbors=width, algorithm="brute").fit(points)
    # Without queries no image is its own neighbour, even beside copies of it.
    index = finder.kneighbors(return_distance=False)
    rows = np.repeat(np.arange(n), width)
    edges = csr_matrix((np.ones(n * width), (rows, index.ravel())), shape=(n, n))
    joined = edges.maximum(edges.T)
    return diags(1 / np.asarray(joined.sum(axis=1)).ravel()) @ joined
