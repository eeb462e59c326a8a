"""Identity of an image: the id that is made of its file's bytes."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.data.file_state import stamp_of
from clusterkit.data.frames import name_of
from clusterkit.data.imageio.read import read_bytes

# Hex digits that a spreadsheet or another program takes for a number: 1e5 is one everywhere, 1d5
# in Fortran's way, and a d or f at the end marks a Java or C constant.
_NUMBER = re.compile(r"[0-9]+([de][0-9]+)?[df]?")

_DIGITS = re.compile(r"[0-9a-f]{16}")
_ID = re.compile(r"x?[0-9a-f]{16}(#[0-9]{1,9})?")


def image_id_of(data: bytes, frame: str | None = None) -> str:
    """Id of an image: the first 16 hex digits of the SHA-256 of its file's bytes.

    Where a program could read these as a number, which it would round, an ``x`` stands before
    them. Of a file with several images, ``#k`` for frame k is appended.
    """
    return name_of(text_id(hashlib.sha256(data).hexdigest()[:16]), frame)


def text_id(image_id: str) -> str:
    """Image id that no program reads as a number: with an ``x`` in front where one could.

    Files of before this rule hold bare digits, so that whatever reads ids passes them through
    here. An id that needs no change comes back as it is.

    >>> text_id("511302225567e181"), text_id("x511302225567e181"), text_id("1234567890123456#7")
    ('x511302225567e181', 'x511302225567e181', 'x1234567890123456#7')
    >>> text_id("0a1b2c3d4e5f6071"), text_id("cluster:3")
    ('0a1b2c3d4e5f6071', 'cluster:3')
    """
    digits = image_id[:16]
    if image_id[16:17] not in ("", "#") or not _DIGITS.fullmatch(digits):
        return image_id
    return "x" + image_id if _NUMBER.fullmatch(digits) else image_id


def is_image_id(text: str) -> bool:
    """Whether a text has the form of an image id.

    >>> [is_image_id(t) for t in ("0a1b2c3d4e5f6071", "0a1b2c3d4e5f6071#2", "5.11302E+192")]
    [True, True, False]
    """
    return _ID.fullmatch(text) is not None


def has_plain_ids(texts: pd.Series) -> np.ndarray:
    """Which texts (N,) are ids as they are: of a million `text_id` one by one would take seconds.

    >>> has_plain_ids(pd.Series(["0a1b2c3d4e5f6071", "511302225567e181", "x511302225567e181"]))
    array([ True, False,  True])
    """
    number = texts.str.fullmatch(f"(?:{_NUMBER.pattern})(?:#.*)?")
    return (texts.str.fullmatch(_ID.pattern) & ~number).to_numpy(dtype=bool)


def is_number(text: str) -> bool:
    """Whether a program may have made a number of an id, with a point or a comma.

    >>> [is_number(t) for t in ("5.11302E+192", "5,11E+20", "123", "0a1b2c3d4e5f6071")]
    [True, True, True, False]
    """
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


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
    data, identity = _read_once(path if isinstance(path, str) else str(path), stamp_of(path))
    return data, name_of(identity, frame)


@lru_cache(maxsize=1)
def _read_once(path: str, stamp: str) -> tuple[bytes, str]:
    data = read_bytes(path)
    return data, image_id_of(data)
