"""Confidence intervals of a share, of images that come in groups."""

import numpy as np


def share_interval(right: np.ndarray, units: np.ndarray, level: float) -> tuple[float, float]:
    """Confidence interval of the share of images that are right, by groups.

    Clopper and Pearson's exact interval (1934, doi:10.1093/biomet/26.4.404) at the effective number
    of images, as Korn and Graubard (1998) have it for samples drawn in clusters: the images of a
    group resemble each other and count for less than as many of different groups. Where all images
    are right, or none is, nothing shows how alike they are, and each group counts as one image.
    Without groups it is the exact interval itself. One group tells nothing of others: (0, 1).

    Parameters
    ----------
    right : (N,) bool
    units : (N,) int
        Images of one group share a number.
    level : float in (0, 1)

    >>> low, high = share_interval(np.ones(20, dtype=bool), np.arange(20), 0.95)
    >>> round(low, 3), high
    (0.832, 1.0)
    """
    from scipy.stats import beta, t

    n, n_units = len(right), len(np.unique(units))
    share, tail = float(np.mean(right)), (1 - level) / 2
    if n_units < 2:
        return 0.0, 1.0
    size = float(n)
    if n_units < n:
        size = float(n_units)
        if 0 < share < 1:
            # What is estimated from few groups is known the less for it.
            sure = (t.ppf(tail, n - 1) / t.ppf(tail, n_units - 1)) ** 2
            size = sure * _effective(np.asarray(right, dtype=float), units, n_units)
    count = share * size
    low = 0.0 if share == 0 else float(beta.ppf(tail, count, size - count + 1))
    high = 1.0 if share == 1 else float(beta.ppf(1 - tail, count + 1, size - count))
    return low, high


def _effective(right: np.ndarray, units: np.ndarray, n_units: int) -> float:
    """Number of independent images whose share would vary as much as that of these groups."""
    n, share = len(right), float(right.mean())
    _, index = np.unique(units, return_inverse=True)
    off = np.bincount(index, right - share)
    variance = n_units / (n_units - 1) * float((off**2).sum()) / n**2
    return min(float(n), share * (1 - share) / variance) if variance > 0 else float(n)
