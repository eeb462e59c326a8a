"""Label propagation: labels spread over a mutual nearest-neighbour graph of unlabelled images."""

from dataclasses import dataclass

import numpy as np

_NEIGHBOURS = 10
# Part of its probabilities that an image takes from its neighbours in each round.
_SHARE = 0.5
_ROUNDS = 20
# Closer than this is the image itself, which must not vote for itself.
_SELF = 1e-6


@dataclass(frozen=True)
class Neighbourhood:
    """Labelled and unlabelled images as nodes of a mutual-kNN graph, with class probabilities.

    Attributes
    ----------
    points : (M, P) float32, unit length
    radius : (M,) float32
        Cosine distance from each node to its last neighbour.
    beliefs : (M, K) float32, rows sum to 1
        Propagated class probabilities of each node.
    """

    points: np.ndarray
    radius: np.ndarray
    beliefs: np.ndarray

    @classmethod
    def build(
        cls, labelled: np.ndarray, labels: np.ndarray, pool: np.ndarray, probs: np.ndarray
    ) -> "Neighbourhood":
        """Spread labels over a pool of M images.

        Zhou et al., Learning with local and global consistency (2004), with labels held fast.

        Parameters
        ----------
        labelled : (E, P) float, pool : (M, P) float
            Reduced features.
        labels : (E,) int in [0, K)
        probs : (M, K) float, rows sum to 1
            Classifier probabilities of the pool, from which propagation starts.
        """
        from scipy.sparse import csr_matrix, diags

        points = unit_length(np.concatenate([labelled, pool]))
        known = len(labelled)
        start = np.concatenate([np.eye(probs.shape[1])[labels], probs])
        distance, index = _neighbours(points, points, _NEIGHBOURS + 1)
        # The first neighbour of a node is the node itself.
        distance, index = distance[:, 1:], index[:, 1:]
        n, width = index.shape
        edges = csr_matrix(
            (np.ones(n * width), (np.repeat(np.arange(n), width), index.ravel())), shape=(n, n)
        )
        mutual = edges.minimum(edges.T)
        degree = np.asarray(mutual.sum(axis=1)).ravel()
        average = diags(1 / np.maximum(degree, 1)) @ mutual
        connected = (degree > 0)[:, None]
        beliefs = start
        for _ in range(_ROUNDS):
            spread = (1 - _SHARE) * start + _SHARE * (average @ beliefs)
            beliefs = np.where(connected, spread, start)
            beliefs[:known] = start[:known]
        radius = distance[:, -1] if width else np.zeros(n)
        return cls(points, radius.astype(np.float32), beliefs.astype(np.float32))

    def vote(self, points: np.ndarray) -> np.ndarray:
        """Mean class probabilities (N, K) of each point's mutual neighbours; NaN rows: no such.

        A node is a mutual neighbour if it is among the point's nearest, and the point is at
        least as near to it as its own neighbours are.

        Parameters
        ----------
        points : (N, P) float
            Reduced features.
        """
        distance, index = _neighbours(self.points, unit_length(points), _NEIGHBOURS + 1)
        mutual = (distance <= self.radius[index]) & (distance > _SELF)
        # The image itself may be a node: then it takes one of the places.
        mutual &= np.cumsum(mutual, axis=1) <= _NEIGHBOURS
        count = mutual.sum(axis=1, keepdims=True)
        total = np.einsum("nk,nkc->nc", mutual.astype(np.float32), self.beliefs[index])
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _neighbours(
    points: np.ndarray, queries: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine distances and rows (N, count) of each query's nearest points, unit vectors all."""
    # Slow to import, and needed by runs with a pool only.
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=min(count, len(points)), algorithm="brute")
    distance, index = finder.fit(points).kneighbors(queries)
    # Of unit vectors, half the squared Euclidean distance is the cosine distance.
    return distance**2 / 2, index


def unit_length(points: np.ndarray) -> np.ndarray:
    """Points (N, P) scaled to length 1, as float32; one at the origin stays there."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return (points / np.maximum(length, 1e-12)).astype(np.float32, copy=False)
