"""What a compressed stream says of its own size, read before a decoder believes it."""

import struct

from clusterkit.errors import ImageError

# JPEG's start-of-frame markers (T.81 B.1.1.3) and JPEG-LS's (T.87): SOF0-15 without DHT, JPG, DAC.
_FRAMES = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE = {0x01, *range(0xD0, 0xDA)}


def check_codestream(coded: bytes, width: int, height: int) -> None:
    """Refuse a stream that declares more pixels than the file around it.

    Raises
    ------
    ImageError
        The stream declares more than width x height pixels.
    """
    found = declared_size(coded)
    if found is not None and found[0] * found[1] > width * height:
        raise ImageError(f"the compressed image is {found[0]}x{found[1]}, but its header says "
                         f"{width}x{height}")  # fmt: skip


def declared_size(coded: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG, JPEG-LS or JPEG 2000 stream; None: it does not say."""
    try:
        # Bare, or a little way into the boxes of a JP2 file.
        start = coded[:4096].find(b"\xff\x4f\xff\x51")
        if start == 0 or coded[4:8] == b"jP  ":
            x, y, x0, y0 = struct.unpack_from(">IIII", coded, start + 8)
            return x - x0, y - y0
        if coded[:2] == b"\xff\xd8":
            return _jpeg_size(coded)
    except struct.error:
        return None
    return None


def _jpeg_size(coded: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 4 <= len(coded):
        if coded[place] != 0xFF:
            return None
        marker = coded[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _ALONE:
            place += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", coded, place + 5)
            return width, height
        else:
            place += 2 + struct.unpack_from(">H", coded, place + 2)[0]
    return None
