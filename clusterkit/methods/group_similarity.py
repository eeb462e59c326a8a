"""Similarity of groups of images: a mean of best matches, a modified Hausdorff distance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GroupEvidence:
    """Similarity of the A images of a query to each of G groups with N images in all.

    Attributes
    ----------
    similarity : (G,) float in [0, 1]
        Pooled, see `pool_groups`.
    logit : (G,) float
        The same mean of best matches, of Siamese logits: tells groups apart where
        similarities are rounded to the same number.
    query : (G,) int in [0, A)
        Image of the query in the closest pair.
    closest : (G,) int in [0, N)
        Image of the group in the closest pair.
    closest_logit : (G,) float
        Siamese logit of the closest pair.
    """

    similarity: np.ndarray
    logit: np.ndarray
    query: np.ndarray
    closest: np.ndarray
    closest_logit: np.ndarray

    def order(self) -> np.ndarray:
        """Return the groups (G,), the most similar first; ties go by logit, then by number."""
        return np.lexsort((-self.logit, -self.similarity))


def pool_groups(
    blocks: Iterable[np.ndarray],
    codes: np.ndarray,
    to_similarity: Callable[[np.ndarray], np.ndarray],
) -> GroupEvidence:
    r"""Similarity of groups: the mean of best matches among pairs of images, both ways.

    .. math:: S(A,B) = \tfrac12\Bigl[\tfrac1{|A|}\sum_{a∈A}\max_{b∈B} s(a,b)
              + \tfrac1{|B|}\sum_{b∈B}\max_{a∈A} s(a,b)\Bigr]

    With similarities for distances, half the sum of the two directed mean distances that
    Dubuisson and Jain compare (1994, doi:10.1109/ICPR.1994.576361; their own choice takes the
    larger one). S(A,B) = S(B,A) if s is symmetric, and a patient with many images counts no
    more than one with few.

    Parameters
    ----------
    blocks : iterable of (a, N) float
        Logits of the query's images, so many rows at a time: all of them need not fit the memory.
    codes : (N,) int in [0, G)
        The group of each compared image; each number below G is there.
    to_similarity : callable
        Rising function from logits to similarities s in [0, 1], of arrays of any shape.

    Raises
    ------
    ValueError
        There is no block or no group.
    """
    if not len(codes):
        raise ValueError("no group to compare with")
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
    sizes = np.diff(np.r_[starts, len(codes)])
    best, by, done = np.full(len(codes), -np.inf), np.zeros(len(codes), dtype=int), 0
    there, there_logit = np.zeros(len(starts)), np.zeros(len(starts))
    for block in blocks:
        block = np.asarray(block, dtype=np.float64)[:, order]
        highest = np.maximum.reduceat(block, starts, axis=1)
        there += to_similarity(highest).sum(axis=0)
        there_logit += highest.sum(axis=0)
        row = block.argmax(axis=0)
        found = block[row, np.arange(len(codes))]
        closer = found > best
        best[closer], by[closer] = found[closer], row[closer] + done
        done += len(block)
    if not done:
        raise ValueError("no image to compare")
    back = np.add.reduceat(to_similarity(best), starts) / sizes
    back_logit = np.add.reduceat(best, starts) / sizes
    # The first of the highest in each group: a lower number wins a tie.
    places = np.array([s + best[s : s + n].argmax() for s, n in zip(starts, sizes, strict=True)])
    return GroupEvidence(
        similarity=(there / done + back) / 2,
        logit=(there_logit / done + back_logit) / 2,
        query=by[places],
        closest=order[places],
        closest_logit=best[places],
    )
