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


def verdict(gains: np.ndarray) -> HeldOutVerdict:
    """Judge a step by what each held-out unit gains by it (U,), in a score that has bounds.

    Ten units or more: it is taken if they gain on average. Of fewer, luck decides more than the
    method: only a clear loss is heeded (one-sided t-test at 5%; Student 1908), and a single unit
    says nothing. So few units bear out no promise, and nothing is assigned by what they say.

    >>> verdict(np.full(10, -0.01)).taken, verdict(np.array([-0.01, 0.02])).taken
    (False, True)
    """
    n, mean = len(gains), float(gains.mean()) if len(gains) else 0.0
    if n >= _FEW_UNITS or mean > 0:
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
