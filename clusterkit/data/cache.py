"""Room for large arrays: in memory up to a bound, beyond it in a nameless temporary file."""

import math
import os
import tempfile
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from clusterkit.errors import DataError

_MB = 1024**2

# Zeros are written in pieces where the system cannot reserve a file's blocks by itself.
_PIECE = 8 * _MB


def room_for_images(count: int, size: int, memory_mb: int) -> np.ndarray:
    """Uninitialised array (N, S, S, 3) uint8 for `count` images of S pixels; see `room_for`."""
    what, remedy = f"{count} images of {size} pixels", ", or raise train.cache_mb"
    return room_for((count, size, size, 3), np.uint8, memory_mb, what, remedy)


def room_for(
    shape: tuple[int, ...], dtype: DTypeLike, memory_mb: int, what: str, remedy: str = ""
) -> np.ndarray:
    """Uninitialised array.

    Up to `memory_mb` mebibytes it is an array in memory, beyond that one mapped to a temporary
    file: the system then keeps in memory what there is room for. The file has no name (on
    Windows: is deleted when it is closed), so that it is gone with the array or the process,
    however that ends.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    memory_mb : int
        Mebibytes of memory that it may take.
    what : str
        What it is for, in the plural, for messages.
    remedy : str
        What else helps against too little space.

    Raises
    ------
    DataError
        The folder for temporary files has too little space. All of it is reserved now: a full
        disk found later, while writing through the map, would end the process without a word.
    """
    total = math.prod(shape) * np.dtype(dtype).itemsize
    if total <= memory_mb * _MB:
        return np.empty(shape, dtype=dtype)
    try:
        with tempfile.TemporaryFile(prefix="clusterkit-") as file:
            reserve(file, total)
            # The map holds the file open by itself.
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{what} take {total / _MB:,.0f} MB, which the folder for temporary files does not "
            f"take ({why}); make room there, or set TMPDIR to another folder{remedy}"
        ) from error


def reserve(file: IO[bytes], total: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, total)
        return
    for start in range(0, total, _PIECE):
        file.write(bytes(min(_PIECE, total - start)))
    file.flush()
