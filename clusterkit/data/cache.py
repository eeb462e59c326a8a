"""Room for decoded images: in memory up to a bound, beyond it in a file that nobody sees."""

import os
import tempfile

import numpy as np

from clusterkit.errors import DataError

_MB = 1024**2

# Zeros are written in pieces where the system cannot reserve a file's blocks by itself.
_PIECE = 8 * _MB


def room_for_images(count: int, size: int, memory_mb: int) -> np.ndarray:
    """Return an array for `count` images, (N, S, S, 3) uint8, whose contents are not set.

    Up to `memory_mb` mebibytes it is an array in memory, beyond that one mapped to a temporary
    file: the system then keeps in memory what there is room for. The file has no name (on
    Windows: is deleted when it is closed), so that it is gone with the array or the process,
    however that ends.

    Raises
    ------
    DataError
        The folder for temporary files has too little space. All of it is reserved now: a full
        disk found later, while writing through the map, would end the process without a word.
    """
    shape = (count, size, size, 3)
    total = int(np.prod(shape, dtype=np.int64))
    if total <= memory_mb * _MB:
        return np.empty(shape, dtype=np.uint8)
    try:
        with tempfile.TemporaryFile(prefix="clusterkit-") as file:
            _reserve(file, total)
            # The map holds the file open by itself.
            return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{count} images of {size} pixels take {total / _MB:,.0f} MB, which the folder for "
            f"temporary files does not take ({error.strerror}); make room there, set TMPDIR to "
            "another folder, or raise train.cache_mb"
        ) from error


def _reserve(file, total: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, total)
        return
    for start in range(0, total, _PIECE):
        file.write(bytes(min(_PIECE, total - start)))
    file.flush()
