"""Novelty (DESIGN §7.7): how unlike an image is to everything labelled, in two ways.

Deep features that were trained on a few classes map a class they have never seen onto one of
them: on the demo's unknown class their distances are no better than chance (AUROC 0.44). What
gives it away are twelve plain numbers of its pixels (0.998); on bccd, one class left out, they
reach 0.78 to 0.96. So both are scored, and either may raise the alarm.
"""

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

# Neighbours that the distance averages over: one alone is at the mercy of one odd exemplar.
_NEIGHBOURS = 3


def appearance(images: np.ndarray) -> np.ndarray:
    """Describe uint8 RGB images (N, S, S, 3) by each channel's extremes, mean and spread.

    Returns
    -------
    (N, 12) float32, values in [0, 1]: maxima, minima, means, standard deviations.
    """
    parts = [getattr(images, name)(axis=(1, 2)) for name in ("max", "min", "mean", "std")]
    return (np.concatenate(parts, axis=1) / 255).astype(np.float32)


class AppearanceModel:
    """Mahalanobis distance from the labelled images' appearance.

    The covariance is Ledoit and Wolf's (2004): it can be inverted however few images there are.

    Parameters
    ----------
    labelled : (E, 12) float
        `appearance` of the labelled images.
    """

    def __init__(self, labelled: np.ndarray) -> None:
        self._mean = labelled.mean(axis=0)
        # Grey images have channels that are equal, and some sets a constant minimum.
        self._scale = labelled.std(axis=0) + 1e-3
        self._model = LedoitWolf().fit(self._standardise(labelled))

    def score(self, described: np.ndarray) -> np.ndarray:
        """Return squared distances (N,) of `appearance` rows (N, 12); rises with strangeness."""
        return self._model.mahalanobis(self._standardise(described))

    def _standardise(self, described: np.ndarray) -> np.ndarray:
        return (described.astype(np.float64) - self._mean) / self._scale


class NoveltyModel:
    """Both scores together.

    Parameters
    ----------
    features : (E, D) float Tensor
        Of the labelled images.
    looks : (E, 12) float
        Their `appearance`.
    labels : (E,) int
    """

    def __init__(self, features: torch.Tensor, looks: np.ndarray, labels: np.ndarray) -> None:
        self._mean = features.mean(0)
        self._scale = features.std(0, correction=0).clamp_min(1e-6)
        self._units = self._unit(features)
        self._looks = AppearanceModel(looks)

    def score(self, features: torch.Tensor, looks: np.ndarray) -> np.ndarray:
        """Return scores (N, 2) that rise with strangeness: in features, and in appearance."""
        cosine = self._unit(features) @ self._units.T
        closest = cosine.topk(min(_NEIGHBOURS, cosine.shape[1]), dim=1).values
        distance = (1 - closest.mean(1)).numpy()
        return np.stack([distance, self._looks.score(looks)], axis=1).astype(np.float32)

    def _unit(self, features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize((features - self._mean) / self._scale, dim=1)


def novelty_p_values(scores: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return conformal p-values: the part of held-out images at least as strange.

    ``(1 + #{held-out ≥ score}) / (n + 1)`` for each score (Bates et al., arXiv 2104.08279),
    joined over S scores by Bonferroni: S times the smallest. Small = novel.

    Parameters
    ----------
    scores : (N, S) float
    held_out : (M, S) float
        The same scores of labelled images that the scoring models had not seen.

    >>> novelty_p_values(np.array([[0.0], [5.0]]), np.array([[1.0], [2.0], [3.0]]))
    array([1.  , 0.25])
    """
    n, kinds = held_out.shape
    p_values = np.ones(len(scores))
    for kind in range(kinds):
        below = np.searchsorted(np.sort(held_out[:, kind]), scores[:, kind], side="left")
        p_values = np.minimum(p_values, kinds * (1 + n - below) / (n + 1))
    return p_values
