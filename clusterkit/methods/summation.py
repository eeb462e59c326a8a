"""Summation over rows that come in parts, rounded as if they came at once."""

import numpy as np

# Rows of a part. Fewer would be multiplied by other routines of BLAS, which round otherwise.
PART = 4096


def add_rows(total: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Total (D,) with the rows of a part (n, D) added to it one by one.

    Sums of parts would be rounded otherwise than the sum of all rows. So the result does not
    depend on the number of rows per part.
    """
    return np.concatenate([total[None], part]).sum(axis=0)
