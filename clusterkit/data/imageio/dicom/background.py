"""Padding of a grey picture: pixels that hold nothing, by the header (PS3.3 C.7.5.1.1.2)."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

# The padding value and the other end of its range, by the element that holds the pixels.
_NAMES = {
    "PixelData": ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    "FloatPixelData": ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    "DoubleFloatPixelData": ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
}


def padding_of(dataset: "Dataset", values: np.ndarray) -> np.ndarray | None:
    """Where stored values (H, W) are padding, (H, W) bool; None: nowhere, or everywhere.

    A header by which all of the picture is padding is wrong about it.
    """
    value, limit = next((own for name, own in _NAMES.items() if name in dataset), ("", ""))
    if value not in dataset:
        return None
    ends = [end for end in (_value(dataset, name) for name in (value, limit)) if end is not None]
    if not ends:
        return None
    found = (values >= min(ends)) & (values <= max(ends))
    return found if found.any() and not found.all() else None


def _value(dataset: "Dataset", name: str) -> float | None:
    """Value of an element in the type of the stored values; None: there is none."""
    value = dataset.get(name)
    bits = int(dataset.get("BitsAllocated") or 16)
    if isinstance(value, bytes) and value:
        little = dataset.original_encoding[1] is not False
        value = int.from_bytes(value[: max(1, bits // 8)], "little" if little else "big")
    if not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        # Signed and unsigned are often mixed up: the bits are what is meant.
        value %= 2**bits
        if dataset.get("PixelRepresentation") == 1 and value >= 2 ** (bits - 1):
            value -= 2**bits
    return value
