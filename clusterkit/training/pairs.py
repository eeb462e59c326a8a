"""Pairs of images for the Siamese model: same class or not, never an image with itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class PairSampler:
    """Draws a partner for an image: of the same class with probability 0.5.

    Parameters
    ----------
    labels : (N,) int
        Class of each image.
    seed : int
        Two samplers with one seed draw the same partners in the same order.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        self.labels = np.asarray(labels)
        self.rng = np.random.default_rng(seed)
        indices = np.arange(len(self.labels))
        self._of = {c: indices[self.labels == c] for c in np.unique(self.labels)}
        self._classes = list(self._of)

    def draw(self, index: int) -> tuple[int, bool]:
        """Return (partner, same class). A class of one image has only partners of others."""
        label = self.labels[index]
        mates = self._of[label]
        same = len(self._classes) == 1 or (len(mates) > 1 and self.rng.random() < 0.5)
        if same:
            partner = mates[self.rng.integers(len(mates) - 1)]
            # Skipping over the image itself keeps the draw uniform over the others.
            return int(mates[-1] if partner == index else partner), True
        others = [c for c in self._classes if c != label]
        partners = self._of[others[self.rng.integers(len(others))]]
        return int(partners[self.rng.integers(len(partners))]), False


class PairDataset:
    """(first, second, same) triples over a function that gets an image or its features.

    Parameters
    ----------
    get : callable
        Index → tensor.
    labels : (N,) int
    seed : int
    fixed : bool
        True: the pairs are drawn once (validation); False: afresh each time (training).
    """

    def __init__(
        self, get: Callable[[int], torch.Tensor], labels: np.ndarray, seed: int, fixed: bool
    ) -> None:
        self.get, self.sampler, self.n = get, PairSampler(labels, seed), len(labels)
        self.pairs = [self.sampler.draw(i) for i in range(self.n)] if fixed else None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, Any, torch.Tensor]:
        partner, same = self.pairs[index] if self.pairs else self.sampler.draw(index)
        return self.get(index), self.get(partner), torch.tensor([float(same)])
