"""Confidence no higher than the held-out record supports."""

from itertools import pairwise

import numpy as np

from clusterkit.methods.calibration import Calibration

# Cells of the rate μ = sin²(θ/2), evenly wide in θ, of which n units tell to 1 / √n: the sum over
# the cells is the integral for any number of images.
_BORDERS = np.sin(np.arange(257) / 256 * np.pi / 2) ** 2
_RATES = np.sin((np.arange(256) + 0.5) / 256 * np.pi / 2) ** 2

# How alike images of one unit are, equally likely under Beta(1, 3): their intraclass correlation
# is a quarter in the mean, until the record says otherwise.
_ALIKE = 1 - (1 - (np.arange(8) + 0.5) / 8) ** (1 / 3)

# Units that a claim counts for; no claim is nearer to 0 or 1 than this.
_CLAIM, _SURE = 2.0, 1e-3

# Confidences t that are looked at, evenly among more.
_MOST_THRESHOLDS = 1000


class SupportedConfidence:
    """Function from confidence to the part of it that held-out images bear out.

    Of the held-out images at or above a confidence t some were right. From them follows the
    probability that one of a further unit is, under the beta-binomial model: units have rates of
    their own around a mean μ, so 30 images of three patients say less of a fourth than 30
    patients do (Williams 1975, doi:10.2307/2529820). It is the mean of μ given the record, Beta(1,
    3) for the intraclass correlation, and a prior for μ that counts as two units and has for its
    mean the confidence m(t) that was claimed; where each unit has one image and k(t) of n(t) were
    right, (k(t) + 2 m(t)) / (n(t) + 2).

    A confidence c is lowered to the highest of these at any t ≤ c, and to what the record could
    bear out at all: were all its images right, under Jeffreys' prior; of N units with one image
    each (N + ½) / (N + 1). So 18 units that are all right support 97.4% and no 99.99%. Nothing is
    lowered below chance. The order is kept; what is lowered to one value is a tie.

    Parameters
    ----------
    confidence : (N,) float in [0, 1]
        Of held-out images.
    correct : (N,) bool
    units : (N,) int
        Group (patient) of each image, or the image itself.
    chance : float in [0, 1]
        1 / K of K classes.

    >>> held = SupportedConfidence(np.full(18, 0.9999), np.ones(18, bool), np.arange(18))
    >>> held(np.array([0.6, 0.9999])).round(3)
    array([0.6  , 0.974])
    """

    def __init__(
        self, confidence: np.ndarray, correct: np.ndarray, units: np.ndarray, chance: float = 0.0
    ) -> None:
        order = np.argsort(-confidence, kind="stable")
        falling, right = confidence[order], correct[order]
        rates, at_most = _Rates(units[order]), _Rates(units)
        at_most.add(0, np.ones(len(units), dtype=bool))
        claimed = np.cumsum(falling) / np.arange(1, len(falling) + 1)
        # Images of one confidence are looked at together.
        starts = np.flatnonzero(np.diff(falling, prepend=2.0))
        starts = starts[:: max(1, -(-len(starts) // _MOST_THRESHOLDS))]
        limits = []
        for start, stop in pairwise([*starts, len(falling)]):
            rates.add(start, right[start:stop])
            claim = np.clip(claimed[stop - 1], _SURE, 1 - _SURE)
            limits.append(rates.mean(_CLAIM * claim, _CLAIM * (1 - claim)))
        # At 0 all held-out images count; nothing is borne out by none.
        limits = [*limits, limits[-1] if limits else 0.5][::-1]
        self.starts = np.r_[0.0, falling[starts][::-1]]
        highest = np.minimum(np.maximum.accumulate(limits), at_most.mean(0.5, 0.5))
        self.limits = np.maximum(highest, chance)

    @classmethod
    def of(cls, calibration: Calibration) -> "SupportedConfidence":
        """Take the held-out images of a calibration."""
        chance = 1 / calibration.probs.shape[1]
        return cls(calibration.confidence, calibration.correct, calibration.units, chance)

    def __call__(self, confidence: np.ndarray) -> np.ndarray:
        """Return what is supported of confidences (n,), each in [0, its own value]."""
        at = np.searchsorted(self.starts, confidence, side="right") - 1
        return np.minimum(confidence, self.limits[at])


class _Rates:
    """Likelihood of the mean rate μ and the intraclass correlation ρ, image by image.

    By Pólya's urn: of an image whose unit has had n others, k of them right, the beta-binomial
    probability to be right is (μ(1 − ρ) + ρk) / (1 − ρ + ρn).
    """

    def __init__(self, units: np.ndarray) -> None:
        self._unit = np.unique(units, return_inverse=True)[1]
        self._seen, self._right = np.zeros((2, len(units)))
        self._log = np.zeros((len(_RATES), len(_ALIKE)))

    def add(self, start: int, correct: np.ndarray) -> None:
        """Take in the images (n,) from the place `start` on: whether they are right."""
        own = np.outer(_RATES, 1 - _ALIKE)
        for unit, right in zip(self._unit[start : start + len(correct)], correct, strict=True):
            among = 1 - _ALIKE + _ALIKE * self._seen[unit]
            prob = (own + _ALIKE * self._right[unit]) / among
            self._log += np.log(prob if right else 1 - prob)
            self._seen[unit] += 1
            self._right[unit] += right

    def mean(self, a: float, b: float) -> float:
        """Return the posterior mean of μ in [0, 1] under the prior Beta(a, b)."""
        # Slow to import.
        from scipy.special import betainc

        likelihood = np.exp(self._log - self._log.max()).sum(axis=1)
        weight = np.diff(betainc(a, b, _BORDERS)) * likelihood
        return float(weight @ _RATES / weight.sum())
