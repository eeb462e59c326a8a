"""PNG files: what Pillow leaves of 16 bits, and files whose notes it does not read."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"

# All that a picture is made of; the other chunks are notes: profiles, texts, times.
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")


def colour_values(data: bytes, image: Image.Image) -> np.ndarray:
    """All 16 bits of a colour PNG, (H, W, 3): Pillow keeps the high byte of each only."""
    image.load()
    high = np.asarray(image).astype(np.uint16)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
        # Read as if the bytes were in the other order, the low byte is kept.
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        again.load()
        return high << 8 | np.asarray(again)


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
