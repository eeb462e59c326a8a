"""Blocks of a large batch: in each, its images and all labelled ones share a graph of neighbours.

To find all neighbours takes time that grows with the square of the images, and approximate ones
would be others on each machine. So a large batch is divided by chance, and each block is refined by
itself. What held-out images tell of the batch must hold then too: a held-out image is to be scored
as an image of the batch is, which lies in one block. The opinions of all blocks on it could be
averaged, but no image of the batch is that lucky, and the errors that were measured would be too
few. So each held-out unit draws the one block whose opinion counts for it. Scores are then a
function of an image and a drawn block, the same function for both, and exchangeability, on which
thresholds and promises rest, holds as it does with one graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BatchBlocks:
    """Images of a batch and held-out images, each in one block.

    Attributes
    ----------
    count : int ≥ 1
    images : (M,) int in [0, count)
    held_out : (h,) int in [0, count)
        Whose opinion on a held-out image counts.
    """

    count: int
    images: np.ndarray
    held_out: np.ndarray

    @classmethod
    def drawn(cls, groups: np.ndarray, units: np.ndarray, most: int, seed: int) -> "BatchBlocks":
        """Divide M images into as few blocks of about the same size as hold at most `most` each.

        Images of a group lie in one block, as held-out images of a unit do, but for the few
        groups at its ends. With one block nothing is drawn.

        Parameters
        ----------
        groups : (M,) str
            "" where there is none.
        units : (h,) int
            Held-out images of one group share a number.
        most : int ≥ 1
        seed : int

        >>> found = BatchBlocks.drawn(np.array(["a", "a", "b", "b"]), np.array([0, 0, 1]), 2, 0)
        >>> found.count, found.images[0] == found.images[1], found.held_out[0] == found.held_out[1]
        (2, np.True_, np.True_)
        """
        count = max(1, -(-len(groups) // most))
        images, held_out = np.zeros(len(groups), dtype=int), np.zeros(len(units), dtype=int)
        if count == 1:
            return cls(count, images, held_out)
        rng = np.random.default_rng(seed)
        order = np.argsort(_shuffled(groups, rng), kind="stable")
        for number, rows in enumerate(np.array_split(order, count)):
            images[rows] = number
        distinct, numbers = np.unique(units, return_inverse=True)
        held_out = (rng.permutation(len(distinct)) % count)[numbers]
        return cls(count, images, held_out)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield of each block which images (M,) bool and held-out images (h,) bool are its own."""
        for number in range(self.count):
            yield self.images == number, self.held_out == number


def _shuffled(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers (M,), the same for the images of one group, another for each other."""
    places, named = np.empty(len(groups), dtype=int), groups != ""
    distinct, places[named] = np.unique(groups[named].astype(str), return_inverse=True)
    places[~named] = len(distinct) + np.arange((~named).sum())
    return rng.permutation(places.max() + 1)[places]
