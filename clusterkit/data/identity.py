"""Identity of an image: the id that is made of its file's bytes."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from clusterkit.data.frames import name_of
from clusterkit.data.imageio.read import read_bytes


def image_id_of(data: bytes, frame: str | None = None) -> str:
    """Id of an image: the first 16 hex digits of the SHA-256 of its file's bytes.

    Of a file with several images, ``#k`` for frame k is appended.
    """
    return name_of(hashlib.sha256(data).hexdigest()[:16], frame)


def read_identified(path: Path | str, frame: str | None = None) -> tuple[bytes, str]:
    """Bytes of an image's whole file, and the image's id.

    Frames of one file follow each other: the last file with several frames is kept in memory for
    as long as it does not change.

    Raises
    ------
    ImageError
        As `read_bytes`.
    """
    if not frame:
        data = read_bytes(path)
        return data, image_id_of(data)
    try:
        found = os.stat(path)
        stamp = found.st_mtime_ns, found.st_size
    except (OSError, ValueError):
        stamp = None
    data, identity = _read_once(path if isinstance(path, str) else str(path), stamp)
    return data, name_of(identity, frame)


@lru_cache(maxsize=1)
def _read_once(path: str, stamp: tuple[int, int] | None) -> tuple[bytes, str]:
    data = read_bytes(path)
    return data, image_id_of(data)
