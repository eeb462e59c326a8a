"""How far confidence is from how often it is right: overall, and where it is highest."""

import numpy as np

# Equal-mass bins.
_BINS = 15


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error in [0, 1] over equal-mass bins.

    Nguyen and O'Connor 2015 (arXiv 1508.05154). Images of one confidence are in one bin.

    Parameters
    ----------
    confidence : (N,) float in [0, 1]
    correct : (N,) bool

    >>> calibration_error(np.array([0.5, 0.5]), np.array([True, False]))
    0.0
    """
    gaps = [len(b) * _gap(confidence, correct, b) for b in _bins(confidence) if len(b)]
    return float(sum(gaps) / max(1, len(confidence)))


def top_bin_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Gap in [0, 1] of the highest bin of `calibration_error`: the surest fifteenth of the images.

    There a mean over all bins hides that a score says more than it knows.

    Parameters
    ----------
    confidence : (N,) float in [0, 1]
    correct : (N,) bool

    >>> top_bin_error(np.array([0.5, 0.6, 1.0, 1.0]), np.array([True, False, True, False]))
    0.5
    """
    top = _bins(confidence)[-1]
    return _gap(confidence, correct, top) if len(top) else 0.0


def _bins(confidence: np.ndarray) -> list[np.ndarray]:
    """Return places in bins of about equally many, from the lowest confidence to the highest.

    What is tied is in one bin: the order of the rows, often patient by patient, tells nothing.
    """
    order = np.argsort(confidence, kind="stable")
    count = min(_BINS, max(1, len(order) // 2))
    borders = np.cumsum([len(part) for part in np.array_split(order, count)])[:-1]
    ordered = confidence[order]
    starts = np.unique(np.searchsorted(ordered, ordered[borders]))
    return np.split(order, starts[starts > 0])


def _gap(confidence: np.ndarray, correct: np.ndarray, rows: np.ndarray) -> float:
    return float(abs(confidence[rows].mean() - correct[rows].mean()))
