"""May a step be taken that held-out labels speak for, against, or say nothing of?"""

from typing import NamedTuple

import numpy as np

# Held-out units from which on their mean decides.
_FEW_UNITS = 10


class HeldOutVerdict(NamedTuple):
    """What held-out units say of a step.

    Attributes
    ----------
    taken : bool
    why : str
        In words.
    gain : float
        Mean over units.
    """

    taken: bool
    why: str
    gain: float


def verdict(gains: np.ndarray, lenient: bool = False) -> HeldOutVerdict:
    """Judge a step by what each held-out unit gains by it (U,), in a score that has bounds.

    It is taken if they gain on average.

    Parameters
    ----------
    gains : (U,) float
    lenient : bool
        Of fewer than ten units, by which luck decides more than the method, heed a clear loss only
        (one-sided t-test at 5%; Student 1908), and a single unit not at all. So few bear out no
        promise, and nothing is assigned by what they say.

    >>> few = np.array([-0.02, 0.01])
    >>> verdict(few).taken, verdict(few, lenient=True).taken
    (False, True)
    """
    n, mean = len(gains), float(gains.mean()) if len(gains) else 0.0
    if n >= _FEW_UNITS or mean > 0 or not lenient:
        words = "held-out labels gained by it" if mean > 0 else "held-out labels did not gain by it"
        return HeldOutVerdict(mean > 0, words, mean)
    if n < 2:
        return HeldOutVerdict(True, "too few labels were held out to tell", mean)
    # Slow to import.
    from scipy.stats import t

    if mean < -t.ppf(0.95, n - 1) * gains.std(ddof=1) / np.sqrt(n):
        return HeldOutVerdict(False, "held-out labels lost by it", mean)
    return HeldOutVerdict(
        True, "few labels were held out, and they did not clearly lose by it", mean
    )
