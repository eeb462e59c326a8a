"""Grey values of more than 8 bits: windows and ranges by which they become bytes.

A window maps its lower edge to 0 and its upper edge to 255 (DICOM PS3.3 C.11.2.1.2, function
LINEAR), so that one byte means one value in every image. Without a window, the image's own
percentiles (`config.image.percentiles`, lowest and highest value by default) become 0 and 255.
Either way the order of values is kept: nothing wraps around.
"""

import numpy as np

from clusterkit.config import PRESETS, ImageConfig

# Scaled in parts of so many values, so that the floats stay small.
_PART = 4_000_000


def window_of(setting: str | list[float]) -> tuple[float, float] | None:
    """Centre and width of a configured window; None for ``auto``.

    >>> window_of("lung"), window_of([40, 80]), window_of("auto")
    ((-600, 1500), (40, 80), None)
    """
    if isinstance(setting, str):
        return PRESETS.get(setting)
    return setting[0], setting[1]


def describe(how: ImageConfig) -> str:
    """English words for the settings by which deep greys become bytes.

    >>> describe(ImageConfig(window="lung"))
    'window lung: centre -600, width 1500'
    >>> describe(ImageConfig())
    "each file's own window; without one, its own range (percentiles 0 to 100)"
    """
    low, high = how.percentiles
    window = window_of(how.window)
    if window is None:
        return f"each file's own window; without one, its own range (percentiles {low} to {high})"
    name = f"window {how.window}" if isinstance(how.window, str) else "window"
    return f"{name}: centre {window[0]}, width {window[1]}"


def apply_window(values: np.ndarray, centre: float, width: float, exact: bool) -> np.ndarray:
    """Values of any shape scaled to uint8 by a linear window.

    ``(v - (centre - 0.5)) / (width - 1) + 0.5`` of DICOM PS3.3 C.11.2.1.2, times 255; a window
    of width 1 is a step at its centre. That counts whole numbers; `exact` is for values that are
    none: ``(v - centre) / width + 0.5`` of C.11.2.1.3.2.
    """
    low = centre - width / 2 if exact else centre - 0.5 - (width - 1) / 2
    high = low + (width if exact else width - 1)
    return scale(values, low, max(high, np.nextafter(low, np.inf)))


def own_range(values: np.ndarray, percentiles: list[float]) -> tuple[float, float] | None:
    """Values at two percentiles of the finite values; None: these are all the same.

    Percentiles other than 0 and 100 are taken over at most some four million values, evenly
    spaced.
    """
    flat = values.reshape(-1)
    if list(percentiles) == [0, 100]:
        parts = [flat[i : i + _PART] for i in range(0, flat.size, _PART)]
        finite = [part[np.isfinite(part)] for part in parts]
        ends = [(float(f.min()), float(f.max())) for f in finite if f.size]
        low = min((e[0] for e in ends), default=0.0)
        high = max((e[1] for e in ends), default=0.0)
    else:
        part = flat[:: max(1, flat.size // _PART)]
        part = part[np.isfinite(part)]
        low, high = np.percentile(part, percentiles).tolist() if part.size else (0.0, 0.0)
    with np.errstate(over="ignore"):
        return (low, high) if 0 < np.float64(high) - np.float64(low) < np.inf else None


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of any shape scaled to uint8: from `low` and below, 0, to `high` and above, 255.

    Infinities stand at the ends of the range; a missing value (NaN) counts as the lowest.
    """
    out = np.empty(values.shape, dtype=np.uint8)
    flat, grey = values.reshape(-1), out.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = slice(start, start + _PART)
        exact = np.nan_to_num(flat[part].astype(np.float64), nan=low, posinf=high, neginf=low)
        grey[part] = np.round((np.clip(exact, low, high) - low) / (high - low) * 255)
    return out


def to_bytes(
    values: np.ndarray, window: tuple[float, float] | None, percentiles: list[float], exact: bool
) -> np.ndarray:
    """Values scaled to uint8 by a window, or without one by their own range; constant: zeros."""
    if window is not None:
        return apply_window(values, *window, exact)
    ends = own_range(values, percentiles)
    return np.zeros(values.shape, dtype=np.uint8) if ends is None else scale(values, *ends)
