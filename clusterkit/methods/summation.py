"""Sums over rows that come in parts, rounded as if they came at once."""

import numpy as np

# Rows of a part. Fewer would be multiplied by other routines of BLAS, which round otherwise.
PART = 4096


def add_rows(total: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Add the rows of a part (n, D) to a total (D,), one by one.

    Sums of parts would be rounded otherwise than the sum of all rows: so no result depends on how
    many rows are in a part.
    """
    return np.concatenate([total[None], part]).sum(axis=0)
