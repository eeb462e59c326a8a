"""Clusters that hold no two known classes: what the models tell apart is not named as one."""

import numpy as np

from clusterkit.methods.clustering import largest_first

# A p-value below which an image counts as unlike what is labelled, when its cluster is judged; and
# from which on one that all voices agree on counts as like it.
_ODD, _USUAL = 0.1, 0.2


def split_by_label(
    clusters: np.ndarray, predicted: np.ndarray, agreed: np.ndarray, novelty_p: np.ndarray
) -> np.ndarray:
    """Split each cluster by the predicted label of its members, where these labels mean something.

    Where most members are unlike everything labelled (novelty p-value below 0.1), labels are
    guesses about an unknown class, which must not be torn apart by them: only members on whose
    label all voices agree, and that are not unusual (p ≥ 0.2), are split off. `benchmarks.novelty`
    measures purity and adjusted mutual information with the true classes.

    Parameters
    ----------
    clusters : (R,) int
        Cluster numbers from 0.
    predicted : (R,) int
        Likeliest class of each.
    agreed : (R,) bool
        Classifier and nearest labelled image are of that class.
    novelty_p : (R,) float in [0, 1]

    Returns
    -------
    (R,) int
        Cluster numbers from 0, the largest cluster first.

    >>> split_by_label(np.array([0, 0, 0]), np.array([1, 1, 2]), np.ones(3, bool), np.ones(3))
    array([0, 0, 1])
    """
    if not len(clusters):
        return clusters
    size = np.bincount(clusters)
    odd = np.bincount(clusters, novelty_p < _ODD) > size / 2
    apart = ~odd[clusters] | (agreed & (novelty_p >= _USUAL))
    label = np.where(apart, predicted, -1)
    return largest_first(clusters * (predicted.max() + 2) + label)
