"""Similarity: an image against the labelled exemplars of its gated classes."""

from dataclasses import dataclass

import numpy as np
import torch

from clusterkit.models.siamese import FactoredSiamese


@dataclass(frozen=True)
class Comparison:
    """Siamese logits of N images, compared with the exemplars of K classes.

    Attributes
    ----------
    pooled : (N, K) float
        Mean of the highest symmetric Siamese logits of each class; -inf where not compared.
    nearest : (N,) int
        Row of the exemplar with the highest logit.
    nearest_logit : (N,) float
    """

    pooled: np.ndarray
    nearest: np.ndarray
    nearest_logit: np.ndarray


class Gallery:
    """Labelled exemplars, ready to be compared with.

    Parameters
    ----------
    siamese : FactoredSiamese
    features : (E, D) float Tensor
        The exemplars' pooled Siamese features.
    labels : (E,) int
    n_classes : int
    exemplars : (E,) bool or None
        Which of them Siamese logits are computed with; None: all.
    """

    def __init__(
        self,
        siamese: FactoredSiamese,
        features: torch.Tensor,
        labels: np.ndarray,
        n_classes: int,
        exemplars: np.ndarray | None = None,
    ) -> None:
        self.siamese, self.labels, self.n_classes = siamese, np.asarray(labels), n_classes
        self.exemplars = np.ones(len(self.labels), bool) if exemplars is None else exemplars
        self._projected = siamese.project(features)
        self._rows = [
            torch.from_numpy(np.flatnonzero((self.labels == c) & self.exemplars))
            for c in range(n_classes)
        ]

    def compare(self, features: torch.Tensor, gate: np.ndarray, top: int) -> Comparison:
        """Compare features (N, D) with the exemplars of each image's gated classes.

        Parameters
        ----------
        features : (N, D) float Tensor
        gate : (N, K) bool
        top : int
            Highest logits per class that are averaged.
        """
        n = len(features)
        query_u, query_v = self.siamese.project(features)
        pooled = np.full((n, self.n_classes), -np.inf, dtype=np.float32)
        nearest = np.full(n, -1)
        nearest_logit = np.full(n, -np.inf, dtype=np.float32)
        for c, rows in enumerate(self._rows):
            gated = np.flatnonzero(gate[:, c])
            if not len(gated) or not len(rows):
                continue
            u, v = self._projected
            logits = self.siamese.logits((query_u[gated], query_v[gated]), (u[rows], v[rows]))
            best = logits.topk(min(top, len(rows)), dim=1)
            pooled[gated, c] = best.values.mean(1).numpy()
            closer = best.values[:, 0].numpy() > nearest_logit[gated]
            nearest_logit[gated[closer]] = best.values[closer, 0].numpy()
            nearest[gated[closer]] = rows[best.indices[closer, 0]].numpy()
        return Comparison(pooled, nearest, nearest_logit)

    def rank(self, features: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        """Return the symmetric logits (E',) of one image's features (1, D) with some exemplars."""
        return self.logits(features, rows)[0]

    def logits(self, features: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        """Return the symmetric logits (N, E') of features (N, D) with some exemplars."""
        u, v = self._projected
        picked = torch.from_numpy(np.asarray(rows))
        pairs = self.siamese.logits(self.siamese.project(features), (u[picked], v[picked]))
        return pairs.numpy()
