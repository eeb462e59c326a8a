"""Lapse rate: the part of images that a model is wrong about however sure it is.

A label is mistaken, a cell lies below another, a patient is unlike all others: no score foresees
it. So no probability of a class is 1 (lapses: Wichmann and Hill, "The psychometric function",
2001, doi:10.3758/BF03194544; the same in robust classification: Bootkrajang and Kabán 2012).
"""

from dataclasses import dataclass

import numpy as np

from clusterkit.methods.prediction_sets import unit_parts
from clusterkit.methods.unit_likelihood import unit_weights

# Units that the prior counts for each held-out one, none of which lapsed. What held-out images
# lapse beyond it is mostly that their models learned from fewer labels than the final one.
_CLEAN = 32.0

# Odds that labels are noisy all the same, and the rate to be expected then: a tenth.
_NOISY, _NOISY_RATE = 1e-3, (1.0, 9.0)

# Borders between which a rate is looked for: close together where rates are small.
_BORDERS = np.linspace(0, 1, 1025) ** 3
_RATES = (_BORDERS[1:] + _BORDERS[:-1]) / 2

# Images whose likelihood is in memory at once.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Lapse:
    """Function from class probabilities to those with a lapse rate: ``(1 − rate)·p + rate / K``.

    The likeliest class and the order of the images by their confidence stay. It is linear in the
    rate, so the mean of the posterior is the rate to take.

    Attributes
    ----------
    rate : float in [0, 1]
        0 changes nothing.

    >>> Lapse(0.02)(np.array([[1.0, 0.0]]))
    array([[0.99, 0.01]])
    """

    rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"lapse {self.rate} is no rate")

    @classmethod
    def fitted(cls, probs: np.ndarray, labels: np.ndarray, units: np.ndarray) -> "Lapse":
        """Fit the rate to held-out images: the mean of its posterior, each unit counting once.

        Its prior shrinks with the number of units n: Beta(½, ½ + 32 n), and with odds of a
        thousandth Beta(1, 9), for labels that are noisy (a spike and a slab: Mitchell and
        Beauchamp 1988). So 18 units that are all right leave 1 in 1,200, and 1,000 of which 50
        are surely wrong leave 1 in 20.

        Parameters
        ----------
        probs : (N, K) float, rows sum to 1
            By models and weights that had not seen the images.
        labels, units : (N,) int
            See `calibration.HeldOut`.
        """
        # Slow to import; `assign` fits none where nothing is refined.
        from scipy.stats import beta

        n, k = len(np.unique(units)), probs.shape[1]
        clean = np.diff(beta.cdf(_BORDERS, 0.5, 0.5 + _CLEAN * n))
        prior = (1 - _NOISY) * clean + _NOISY * np.diff(beta.cdf(_BORDERS, *_NOISY_RATE))
        true, weight = probs[np.arange(len(labels)), labels].astype(float), unit_weights(units)
        fit = np.zeros(len(_RATES))
        for start in range(0, len(true), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            fit += weight[part] @ np.log(np.outer(true[part], 1 - _RATES) + _RATES / k)
        posterior = prior * np.exp(fit - fit.max())
        return cls(float(posterior @ _RATES / posterior.sum()))

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K), given those of rows that sum to 1 (N, K)."""
        return (1 - self.rate) * probs + self.rate / probs.shape[1]


def crossed_lapse(probs: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) with lapse rates that were fitted on other units.

    To measure by; see `Lapse.fitted`. Images of one unit alone are left as they are.

    Parameters
    ----------
    probs : (N, K) float, rows sum to 1
    labels, units : (N,) int
    """
    parts, found = unit_parts(units), probs.astype(float)
    for part in np.unique(parts):
        test = parts == part
        if not test.all():
            found[test] = Lapse.fitted(probs[~test], labels[~test], units[~test])(probs[test])
    return found
