"""Size that a compressed stream declares, checked before a decoder allocates it."""

import struct

from clusterkit.errors import ImageError

# JPEG's start-of-frame markers (T.81 B.1.1.3), DHP of hierarchical files, and JPEG-LS's (T.87).
_FRAMES = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xDE, 0xF7}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SCAN = 0xDA
_J2K = b"\xff\x4f\xff\x51"


def check_codestream(
    coded: bytes, width: int, height: int, samples: int, name: str = "image"
) -> None:
    """Refuse a stream that declares a larger size than the file around it, or none.

    `name` is that of the compression, for the reason.

    Raises
    ------
    ImageError
        The stream is no JPEG, JPEG-LS or JPEG 2000, or declares more than width x height pixels
        of so many samples.
    """
    try:
        found = _j2k_size(coded) if coded[:2] != b"\xff\xd8" else _jpeg_size(coded)
    except struct.error:
        found = None
    if found is None:
        raise ImageError(f"holds no stream of its transfer syntax, {name}, that says its size")
    if not (0 < found[0] <= width and 0 < found[1] <= height and found[2] <= samples):
        raise ImageError(f"the compressed image is {found[0]}x{found[1]} of {found[2]} samples, "
                         f"but its header says {width}x{height} of {samples}")  # fmt: skip


def _j2k_size(coded: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000 stream, bare or in the boxes of JP2."""
    start = 0
    if coded[4:8] == b"jP  ":
        while coded[start + 4 : start + 8] != b"jp2c":
            (length,) = struct.unpack_from(">I", coded, start)
            if length < 8:
                return None
            start += length
        start += 8
    if coded[start : start + 4] != _J2K:
        return None
    x, y, x0, y0 = struct.unpack_from(">IIII", coded, start + 8)
    (components,) = struct.unpack_from(">H", coded, start + 40)
    return x - x0, y - y0, components


def _jpeg_size(coded: bytes) -> tuple[int, int, int] | None:
    """Largest width, height and components among the frames of a JPEG or JPEG-LS stream."""
    place, largest = 2, None
    while place + 4 <= len(coded):
        if coded[place] != 0xFF:
            return None
        marker = coded[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _ALONE:
            place += 2
        elif marker == _SCAN:
            break
        else:
            if marker in _FRAMES:
                height, width, components = struct.unpack_from(">HHB", coded, place + 5)
                # A height of 0 is given after the scan, which is too late to refuse it.
                if not height or not width:
                    return None
                before = largest or (0, 0, 0)
                largest = tuple(map(max, before, (width, height, components)))
            place += 2 + struct.unpack_from(">H", coded, place + 2)[0]
    return largest
