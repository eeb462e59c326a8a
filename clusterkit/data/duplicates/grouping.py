"""Grouping of near duplicates: connected components, and groups without chaining."""

import numpy as np

from clusterkit.data.duplicates.index import NearPairs
from clusterkit.data.duplicates.signature import SAME, all_scores, pair_scores

# Members of one group must be at least this like each other. Two copies of one image, changed in
# different ways, have noise twice: 99.8% of them still reach it on malaria, 97.8% reach SAME.
ALIKE = 0.75

# Of an image with hundreds of copies, the closest ones that all others are compared with.
_FULL = 64


def near_chains(n: int, pairs: NearPairs) -> np.ndarray:
    """Numbers (n,) of connected components of pairs, however long the chain; -1: in no pair."""
    numbers = _components(n, pairs.first, pairs.second)
    alone = np.bincount(numbers, minlength=n)[numbers] < 2
    return np.where(alone, -1, numbers)


def _components(n: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers (n,) of the connected components of a graph with edges (P,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return connected_components(edges, directed=False)[1]


def near_groups(n: int, pairs: NearPairs, signatures: np.ndarray) -> np.ndarray:
    """Group numbers (n,) of near duplicates, without chaining unlike images together.

    Of each connected component the medoid is the image with the highest sum of pair scores.
    A member stays if its score with the medoid is at least `SAME` and with every member that
    was taken before it at least `ALIKE`; the others are tried again among themselves.

    Parameters
    ----------
    n : int
        Number of images.
    pairs : NearPairs
    signatures : (n, SIGNATURE) int8

    Returns
    -------
    (n,) int
        Groups of two images or more, numbered from 0 in the order of their first image; -1: in
        no group.
    """
    groups = np.full(n, -1)
    first, second, score = pairs.first, pairs.second, pairs.score
    found = 0
    while len(first):
        nodes = np.unique(np.r_[first, second])
        component = _components(n, first, second)[nodes]
        strength = np.bincount(np.r_[first, second], np.r_[score, score], minlength=n)[nodes]
        order = np.lexsort([nodes, -strength, component])
        starts = np.r_[True, np.diff(component[order]) > 0]
        medoid = nodes[order[starts]][np.cumsum(starts) - 1]
        member = nodes[order]
        likeness = pair_scores(signatures, signatures, member, medoid)
        likeness[member == medoid] = 2
        order = np.lexsort([member, -likeness, medoid])
        order = order[likeness[order] >= SAME]
        for star in np.split(member[order], np.flatnonzero(np.diff(medoid[order])) + 1):
            groups[_all_alike(star, signatures)] = found
            found += 1
        left = (groups[first] < 0) & (groups[second] < 0)
        first, second, score = first[left], second[left], score[left]
    return _renumber(groups)


def _all_alike(star: np.ndarray, signatures: np.ndarray) -> np.ndarray:
    """Members of a star that are all alike; the medoid is first, the rest by falling likeness."""
    if len(star) < 3:
        return star
    scores = all_scores(signatures[star], signatures[star[:_FULL]])
    kept: list[int] = []
    for place in range(len(star)):
        if (scores[place, [k for k in kept if k < _FULL]] >= ALIKE).all():
            kept.append(place)
    return star[kept]


def _renumber(groups: np.ndarray) -> np.ndarray:
    """Group numbers by the first image of each; -1 where a group has one image."""
    values, first, back, count = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    real = (values >= 0) & (count > 1)
    numbers = np.full(len(values), -1)
    numbers[np.flatnonzero(real)[np.argsort(first[real])]] = np.arange(real.sum())
    return numbers[back.reshape(-1)]
