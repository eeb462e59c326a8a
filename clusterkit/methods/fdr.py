"""False discovery rate: multiple testing by Benjamini and Hochberg's procedure."""

import numpy as np


def benjamini_hochberg(p_values: np.ndarray, alpha: float) -> np.ndarray:
    """Rejections (N,) bool with a false discovery rate of at most `alpha`.

    Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x).

    Parameters
    ----------
    p_values : (N,) float in [0, 1]
    alpha : float in (0, 1)

    >>> benjamini_hochberg(np.array([0.01, 0.9, 0.03]), 0.1)
    array([ True, False,  True])
    """
    n = len(p_values)
    if not n:
        return np.zeros(0, dtype=bool)
    ranked = np.sort(p_values)
    passing = np.flatnonzero(ranked <= alpha * np.arange(1, n + 1) / n)
    return p_values <= (ranked[passing[-1]] if len(passing) else -1.0)
