"""Clusters (DESIGN §7.8) over what was refused, so that a person can name a group at once."""

import numpy as np
from sklearn.cluster import HDBSCAN


def cluster_refused(features: np.ndarray, min_size: int) -> np.ndarray:
    """Cluster images; what HDBSCAN calls noise becomes clusters of one.

    Parameters
    ----------
    features : (N, P) float
        Reduced features.
    min_size : int
        Fewest images that make a cluster.

    Returns
    -------
    (N,) int from 0, the largest cluster first.
    """
    n = len(features)
    found = np.full(n, -1)
    if n >= max(2, min_size):
        found = HDBSCAN(min_cluster_size=min_size, copy=True).fit(features).labels_
    noise = found < 0
    found[noise] = found.max(initial=-1) + 1 + np.arange(noise.sum())
    _, index, counts = np.unique(found, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank[index]
