"""Clustering of refused images by Ward's method, so that a person can name a group at once.

Labelled images show how images of one class differ: that much is no reason to part two images.
So features are measured in units of the spread within the labelled classes, and the classifier's
probabilities stand beside them. There Ward's method finds classes that k-means on the plain
features tears apart or runs together (benchmarks/novelty.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from clusterkit.methods.novelty import within_classes
from clusterkit.methods.summation import PART, add_rows

# Leading reduced features; with all of them the many small ones drown the few that matter.
_AXES = 20

# Ward's method and the silhouette keep the distances of all pairs: 36 and 8 MB of them.
_MOST, _MOST_SILHOUETTE = 3000, 1000

# Images of which all points are kept.
MOST_KEPT = 100_000

# Numbers of clusters that are tried.
_TRIED = 12


def cluster_space(
    reduced: np.ndarray, probs: np.ndarray, labelled: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Points (N, min(P, 20) + K) in which near images are probably of one class.

    Reduced features, whitened by the covariance within the labelled classes (Ledoit and Wolf
    2004, doi:10.1016/S0047-259X(03)00096-4) and scaled to a total variance of 1. Beside them the
    square roots of the probabilities, whose distance is Hellinger's, at most √2.

    Parameters
    ----------
    reduced : (N, P) float, probs : (N, K) float
        Of the images to be clustered; the first axes are the widest.
    labelled : (E, P) float, labels : (E,) int
        The same of the labelled images, and their classes.

    Returns
    -------
    (N, min(P, 20) + K) float
    """
    parts = [(reduced, probs)]
    return cluster_space_of(parts, len(reduced), probs.shape[1], labelled, labels)


def cluster_space_of(
    parts: Iterable[tuple[np.ndarray, np.ndarray]],
    n: int,
    n_classes: int,
    labelled: np.ndarray,
    labels: np.ndarray,
) -> np.ndarray:
    """Points of `cluster_space` for n images whose `reduced` and `probs` come in parts."""
    whiten, done = _Whitening.of(labelled, labels), 0
    points = np.empty((n, whiten.width + n_classes))
    for reduced, probs in parts:
        rows = slice(done, done + len(reduced))
        points[rows, : whiten.width] = whiten(reduced)
        points[rows, whiten.width :] = np.sqrt(probs)
        done += len(reduced)
    points[:, : whiten.width] /= _total_deviation(lambda: [points[:, : whiten.width]])
    return points


@dataclass(frozen=True)
class _Whitening:
    """Axes (d, d) and deviations (d,) along them, of the spread within the labelled classes."""

    axes: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, labelled: np.ndarray, labels: np.ndarray) -> "_Whitening":
        from sklearn.covariance import LedoitWolf

        known = labelled[:, :_AXES].astype(np.float64)
        _, within = within_classes(known, np.unique(labels, return_inverse=True)[1])
        values, axes = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(within).covariance_)
        # Identical labelled images have no spread to measure in.
        return cls(axes, np.sqrt(np.maximum(values, 1e-6 * max(values.max(), 1e-6))))

    @property
    def width(self) -> int:
        return len(self.deviation)

    def __call__(self, reduced: np.ndarray) -> np.ndarray:
        return (reduced[:, :_AXES] @ self.axes) / self.deviation


def _total_deviation(parts: Callable[[], Iterable[np.ndarray]]) -> float:
    """Root of the summed variances of the columns (N, D), which come in parts; 1 where N is 0."""
    n, mean = 0, np.zeros(1)
    for part in _pieces(parts()):
        mean, n = add_rows(mean + np.zeros(part.shape[1]), part), n + len(part)
    if not n:
        return 1.0
    mean, squares = mean / n, np.zeros(1)
    for part in _pieces(parts()):
        squares = add_rows(squares + np.zeros(part.shape[1]), (part - mean) ** 2)
    return max(float(np.sqrt((squares / n).sum())), 1e-12)


def _pieces(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of parts, at most `PART` at a time."""
    for part in parts:
        for start in range(0, len(part), PART):
            yield part[start : start + PART]


def cluster_in_parts(
    parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    n: int,
    labelled: np.ndarray,
    labels: np.ndarray,
    min_size: int,
    n_classes: int,
    refused: np.ndarray,
) -> np.ndarray:
    """Cluster numbers of `cluster_refused` for n images, of which no more than need be are kept.

    Of more than `MOST_KEPT` images the sample that is clustered is drawn along their first
    coordinate, and the points of the others are made again when each joins the nearest mean.

    Parameters
    ----------
    parts : callable
        Gives `reduced` and `probs` of all images anew at each call, in parts and the same order.
    labelled, labels
        See `cluster_space`.
    min_size, n_classes, refused
        See `cluster_refused`.
    """
    if n <= MOST_KEPT:
        points = cluster_space_of(parts(), n, n_classes, labelled, labels)
        return cluster_refused(points, min_size, n_classes, refused)
    from scipy.spatial.distance import cdist

    whiten = _Whitening.of(labelled, labels)
    scale = _total_deviation(lambda: (whiten(reduced) for reduced, _ in parts()))

    def points_of() -> Iterator[np.ndarray]:
        for reduced, probs in parts():
            yield np.hstack([whiten(reduced) / scale, np.sqrt(probs)])

    order = np.argsort(np.concatenate([points[:, 0] for points in points_of()]), kind="stable")
    drawn, done, sample = np.sort(order[_evenly(n, _MOST)]), 0, []
    for points in points_of():
        inside = drawn[slice(*np.searchsorted(drawn, [done, done + len(points)]))]
        sample.append(points[inside - done])
        done += len(points)
    kept = np.concatenate(sample)
    means = _means(kept, _ward(kept, n_classes))
    found = np.concatenate([cdist(points, means).argmin(axis=1) for points in points_of()])
    return largest_first(found[refused])


def _means(points: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    return np.stack([points[clusters == c].mean(axis=0) for c in range(clusters.max() + 1)])


def cluster_refused(
    points: np.ndarray, min_size: int, n_classes: int = 0, refused: np.ndarray | None = None
) -> np.ndarray:
    """Cluster numbers of the refused images; fewer than `min_size` images stay each alone.

    All images of a batch are clustered and the refused ones get their numbers: images that were
    assigned show where the known classes are, so that remains of those are not mistaken for
    structure among the unknown.

    Ward's method (1963, doi:10.1080/01621459.1963.10500845). The number of clusters is the one
    with the best mean silhouette (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7), from two
    more than there are classes (unlabelled classes need room) to twice that. Of more than 3,000
    images a sample of 3,000 is clustered, and the others join the cluster whose mean is nearest.
    The order of the images does not matter.

    Parameters
    ----------
    points : (N, D) float
        See `cluster_space`.
    min_size : int
        Fewest images that are clustered at all.
    n_classes : int
        Classes that are labelled; 0: nothing is known.
    refused : (N,) bool or None
        Images whose clusters are returned; None: all.

    Returns
    -------
    (R,) int
        Cluster numbers from 0, the largest cluster first. Images at the same point are in one
        cluster.
    """
    n = len(points)
    refused = np.ones(n, dtype=bool) if refused is None else refused
    if n < max(2, min_size):
        same = np.unique(points, axis=0, return_inverse=True)[1].reshape(-1) if n else np.arange(0)
        return largest_first(same[refused])
    order = np.lexsort(points.T[::-1])
    sample = points[order[_evenly(n, _MOST)]].astype(np.float64)
    found = _ward(sample, n_classes)
    if len(sample) < n:
        from scipy.spatial.distance import cdist

        means = _means(sample, found)
        parts = np.array_split(order, -(-n // _MOST))
        found = np.concatenate([cdist(points[part], means).argmin(axis=1) for part in parts])
    clusters = np.empty(n, dtype=int)
    clusters[order] = found
    return largest_first(clusters[refused])


def _ward(points: np.ndarray, n_classes: int) -> np.ndarray:
    # Imported late: `assign` clusters at its end, and its start must not wait for them.
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import cdist, pdist
    from sklearn.metrics import silhouette_score

    distinct = len(np.unique(points, axis=0))
    fewest, most = n_classes + 2, 2 * (n_classes + 2)
    counts = np.unique(np.linspace(fewest, most, min(_TRIED, most - fewest + 1)).astype(int))
    tree = linkage(pdist(points), "ward")
    shown = _evenly(len(points), _MOST_SILHOUETTE)
    distances = cdist(points[shown], points[shown])
    # All in one pass over the tree, which takes longer than it was to grow.
    tried = counts[counts < distinct].tolist()
    *cuts, best = cut_tree(tree, [*tried, min(fewest, distinct)]).T
    highest = -np.inf
    for found in cuts:
        if not 1 < len(np.unique(found[shown])) < len(shown):
            continue
        score = silhouette_score(distances, found[shown], metric="precomputed")
        if score > highest:
            best, highest = found, score
    return best


def _evenly(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def largest_first(clusters: np.ndarray) -> np.ndarray:
    """Number clusters (R,) from 0 by size; of equally large ones the first image's comes first."""
    _, first, index, counts = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(counts), dtype=int)
    rank[np.lexsort([first, -counts])] = np.arange(len(counts))
    return rank[index]
