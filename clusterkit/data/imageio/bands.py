"""Work on large arrays a few rows at a time, where each value is worked on by itself."""

from collections.abc import Callable

import numpy as np

# Pixels of a band.
BAND = 4_000_000


def by_rows(values: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What `work` makes of values (H, W, …), with its copies only of a part of them at a time.

    Parameters
    ----------
    values : (H, W, …)
    work : callable
        Gives as many rows as it is given, each value from the same value alone.
    """
    rows = max(1, BAND // max(1, values.shape[1]))
    if rows >= len(values):
        return work(values)
    return np.concatenate([work(values[top : top + rows]) for top in range(0, len(values), rows)])
