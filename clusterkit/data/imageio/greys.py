"""Grey values of more than 8 bits: windows and ranges by which they become bytes.

A window maps its lower edge to 0 and its upper edge to 255 (DICOM PS3.3 C.11.2.1.2, function
LINEAR), so that one byte means one value in every image. Without a window, the image's own
percentiles (`config.image.percentiles`, lowest and highest value by default) become 0 and 255.
A few hot or dead pixels do not count as lowest or highest: see `own_range`. Either way the order
of values is kept: nothing wraps around.
"""

import numpy as np

from clusterkit.config import PRESETS, ImageConfig
from clusterkit.data.imageio.bands import by_rows

# Scaled in parts of so many values, so that the floats stay small.
_PART = 4_000_000

# More values than this are scaled by a table of all that there may be.
TABLE = 2**18

# Pixels that may be hot or dead, at either end: so many, or one in so many where that is more.
_FEW, _ONE_IN = 5, 50_000

# Fewer values are no picture of which a few pixels could be left out, and whole numbers that
# spread over fewer steps are no picture without them.
_PICTURE, _STEPS = 1000, 16


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

    Of the percentiles 0 and 100, a few hot or dead pixels are left out: at most 5 (or one in
    50,000) at an end, where they lie so far from all others that more than half of the range
    would be empty. The lowest and the highest of the others become the range. Nothing is left
    out of fewer than 1,000 values, nor where the others, as whole numbers, spread over fewer
    than 16.

    Percentiles other than 0 and 100 are taken over at most some four million values, evenly
    spaced.
    """
    flat = values.reshape(-1)
    if list(percentiles) == [0, 100]:
        low, high = _ends(flat)
    else:
        part = flat[:: max(1, flat.size // _PART)]
        part = part[np.isfinite(part)]
        low, high = np.percentile(part, percentiles).tolist() if part.size else (0.0, 0.0)
    with np.errstate(over="ignore"):
        return (low, high) if 0 < np.float64(high) - np.float64(low) < np.inf else None


def _ends(flat: np.ndarray) -> tuple[float, float]:
    """Lowest and highest of the values (N,), without hot and dead pixels."""
    few = max(_FEW, flat.size // _ONE_IN)
    lowest: list[np.ndarray] = []
    highest: list[np.ndarray] = []
    count = 0
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        part = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        count += part.size
        if part.size > 2 * few + 2:
            part = _extremes(part, few + 1)
        lowest.append(part[: few + 1])
        highest.append(part[-few - 1 :])
    if not count:
        return 0.0, 0.0
    low = np.sort(np.concatenate(lowest).astype(np.float64))[: few + 1]
    high = np.sort(np.concatenate(highest).astype(np.float64))[-few - 1 :]
    with np.errstate(over="ignore"):
        span = high[0] - low[-1]
        enough = span >= _STEPS if flat.dtype.kind in "iu" else span > 0
        if count >= _PICTURE and enough and span < np.inf:
            low = low[low[-1] - low <= span]
            high = high[high - high[0] <= span]
    return float(low[0]), float(high[-1])


def _extremes(part: np.ndarray, many: int) -> np.ndarray:
    """Sorted: the lowest `many` of more values than twice as many, then the highest."""
    if part.dtype.kind in "iu" and part.dtype.itemsize <= 2:
        # Counting is several times quicker than a partition.
        base = int(np.iinfo(part.dtype).min)
        counts = np.bincount(part.astype(np.intp) - base)
        used = np.flatnonzero(counts)
        below = np.repeat(used[:many], np.minimum(counts[used[:many]], many))[:many]
        above = np.repeat(used[-many:], np.minimum(counts[used[-many:]], many))[-many:]
        return np.concatenate([below, above]) + base
    found = np.partition(part, (many - 1, part.size - many))
    return np.concatenate([np.sort(found[:many]), np.sort(found[-many:])])


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of any shape scaled to uint8: from `low` and below, 0, to `high` and above, 255.

    Infinities stand at the ends of the range; a missing value (NaN) counts as the lowest.
    """
    if values.dtype in (np.uint16, np.int16) and values.ndim > 1 and values.size > TABLE:
        return _looked_up(values, low, high)
    out = np.empty(values.shape, dtype=np.uint8)
    flat, grey = values.reshape(-1), out.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = slice(start, start + _PART)
        exact = np.nan_to_num(flat[part].astype(np.float64), nan=low, posinf=high, neginf=low)
        grey[part] = np.round((np.clip(exact, low, high) - low) / (high - low) * 255)
    return out


def _looked_up(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of 16 bits scaled as `scale` does: each value once, then by looking it up."""
    every = np.arange(2**16, dtype=np.uint16)
    table = scale(every.view(values.dtype), low, high)
    return by_rows(values, lambda part: table[part.view(np.uint16)])


def to_bytes(
    values: np.ndarray,
    window: tuple[float, float] | None,
    percentiles: list[float],
    exact: bool,
    inside: np.ndarray | None = None,
) -> np.ndarray:
    """Values scaled to uint8 by a window, or without one by their own range; constant: zeros.

    The range is that of the values where `inside` is true; None: of all.
    """
    if window is not None:
        return apply_window(values, *window, exact)
    ends = own_range(values if inside is None else values[inside], percentiles)
    return np.zeros(values.shape, dtype=np.uint8) if ends is None else scale(values, *ends)
