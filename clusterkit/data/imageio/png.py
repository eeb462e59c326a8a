"""PNG files: what Pillow leaves of 16 bits, and files whose notes it does not read."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from clusterkit.data.imageio.bands import BAND
from clusterkit.data.imageio.budget import check_work

MAGIC = b"\x89PNG\r\n\x1a\n"

# Bytes a pixel of 16-bit colours: the values, and what is decoded of them at a time.
_OF_COLOURS = 10

# All that a picture is made of; the other chunks are notes: profiles, texts, times.
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")


def colour_values(data: bytes) -> np.ndarray:
    """All 16 bits of a colour PNG, (H, W, 3): Pillow keeps the high byte of each only.

    Raises
    ------
    ImageError
        It would take too much memory.
    """
    values = np.empty(0, dtype=np.uint16)
    # Read as if the bytes were in the other order, the low byte is kept.
    for order in ("RGB;16B", "RGB;16L"):
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if not values.size:
                check_work(*image.size, _OF_COLOURS, "PNG (RGB of 16 bits)")
                values = np.zeros((image.height, image.width, 3), dtype=np.uint16)
            image.tile = [tile._replace(args=order) for tile in image.tile]
            image.load()
            for rows in _bands(image):
                values[rows] <<= 8
                values[rows] |= np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return values


def _bands(image: Image.Image) -> Iterator[slice]:
    step = max(1, BAND // image.width)
    return (slice(top, min(image.height, top + step)) for top in range(0, image.height, step))


def may_be_turned(path: Path) -> bool:
    """Return True where a PNG has a chunk that may hold EXIF; Pillow decodes all pixels to know."""
    with path.open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(length + 4, io.SEEK_CUR)
    return False


def without_notes(data: bytes) -> bytes:
    """File with the chunks of its picture alone; what is no whole chunk ends it.

    Pillow refuses a file for the size of a profile or of a text, and rightly does not inflate
    them; the picture does not need them.
    """
    parts, place = [MAGIC], len(MAGIC)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind in _PICTURE:
            parts.append(data[place:end])
        place = end
    return b"".join(parts)
