"""Confidence no higher than the held-out record supports."""

import numpy as np

from clusterkit.methods.calibration import Calibration
from clusterkit.methods.unit_likelihood import unit_weights


class SupportedConfidence:
    """Function from confidence to the part of it that held-out images bear out.

    Of the held-out units at or above a confidence t, n(t) in number, k(t) were right. That a
    further one is right has the probability (k(t) + 1) / (n(t) + 2) by Laplace's rule of
    succession (1774), whatever a score says. A confidence c is lowered to the highest of these
    at any t ≤ c, and never below chance. So 18 held-out units that are all right support 95% and
    no 99.99%. The order is kept; what is lowered to one value is a tie.

    Parameters
    ----------
    confidence : (N,) float in [0, 1]
        Of held-out images.
    correct : (N,) bool
    weights : (N,) float > 0
        They sum to 1 over each unit (patient): its images share one vote.
    chance : float in [0, 1]
        1 / K of K classes.

    >>> held = SupportedConfidence(np.full(18, 0.9999), np.ones(18, bool), np.ones(18))
    >>> held(np.array([0.6, 0.9999])).round(3)
    array([0.6 , 0.95])
    """

    def __init__(
        self, confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray, chance: float = 0.0
    ) -> None:
        order = np.argsort(confidence, kind="stable")
        starts, first = np.unique(confidence[order], return_index=True)
        right = np.append(np.cumsum((weights * correct)[order][::-1])[::-1], 0.0)
        all_ = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
        at = np.r_[0, first].astype(int)
        # At 0 all held-out units count.
        self.starts = np.r_[0.0, starts]
        borne_out = np.maximum.accumulate((right[at] + 1) / (all_[at] + 2))
        self.limits = np.maximum(borne_out, chance)

    @classmethod
    def of(cls, calibration: Calibration) -> "SupportedConfidence":
        """Take the held-out images of a calibration."""
        weights, chance = unit_weights(calibration.units), 1 / calibration.probs.shape[1]
        return cls(calibration.confidence, calibration.correct, weights, chance)

    def __call__(self, confidence: np.ndarray) -> np.ndarray:
        """Return what is supported of confidences (n,), each in [0, its own value]."""
        at = np.searchsorted(self.starts, confidence, side="right") - 1
        return np.minimum(confidence, self.limits[at])
