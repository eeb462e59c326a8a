"""Memory that one image may take, told from its header before any of it is taken.

What counts is what is held at once: the decoder's own, the pixels, and what becomes of them.
"""

import struct

from PIL import Image

from clusterkit.errors import ImageError

# Decoding needs a few bytes a pixel: beyond this a small hostile file could fill the memory.
# Just below Pillow's own limit (178,956,970), which would speak first and say less.
MAX_PIXELS = 178_000_000

# Bytes that an image may take beside what the process holds anyway.
MAX_WORK = 900_000_000

# Pixels of a side: whoever resizes it holds several numbers for each of them.
_LONGEST = 4_000_000

# Pixels that are decoded in all passes over one JPEG: a small one may ask for thousands.
MOST_PASSED = 4_000_000_000

# Bytes of a pixel in Pillow's memory; of other modes four.
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}

# Bytes a pixel that a decoder holds beside the picture.
_DECODERS = {"WEBP": 12, "JPEG2000": 16, "AVIF": 8, "HEIF": 8, "GIF": 4, "QOI": 4}

# A pass of JPEG, and the sizes of JPEG 2000 (T.800 A.5.1), of which those of a tile come last.
_SCAN, _SIZE = b"\xff\xda", b"\xff\x4f\xff\x51"


def check_pixels(width: int, height: int, most: int) -> None:
    """Refuse a picture of more pixels than `most`.

    Raises
    ------
    ImageError
    """
    if width * height > most:
        raise ImageError(f"{width}x{height} is more than {most:,} pixels: save a smaller "
                         "copy")  # fmt: skip


def check_work(width: int, height: int, per_pixel: float, what: str) -> None:
    """Refuse a picture that takes more than `MAX_WORK`.

    Parameters
    ----------
    width, height : int
    per_pixel : float
        Bytes a pixel.
    what : str
        Of what type it is, for the message.

    Raises
    ------
    ImageError
    """
    if max(width, height) > _LONGEST:
        raise ImageError(f"{width}x{height}: a side of more than {_LONGEST:,} pixels is no picture")
    work = width * height * per_pixel
    if work > MAX_WORK:
        raise ImageError(f"{width}x{height} pixels of {what} take {work / 1e6:,.0f} MB to decode, "
                         f"more than {MAX_WORK / 1e6:,.0f} MB: save a smaller copy")  # fmt: skip


def bytes_of(image: Image.Image) -> int:
    """Bytes of a pixel of an opened image."""
    return _BYTES.get(image.mode, 4)


def fits(image: Image.Image, beside: int) -> bool:
    """Whether an image and so many bytes a pixel beside it are within `MAX_WORK`."""
    return image.width * image.height * (bytes_of(image) + beside) <= MAX_WORK


def check_decoding(image: Image.Image, data: bytes, full: tuple[int, int]) -> None:
    """Refuse an opened image that Pillow would take too much to decode.

    Parameters
    ----------
    image : Image
        Opened, not loaded; a JPEG perhaps at a fraction of its size.
    data : bytes
        Of its file.
    full : (width, height)
        Its true size.

    Raises
    ------
    ImageError
    """
    kind = f"{image.format} ({image.mode})"
    beside = _DECODERS.get(image.format or "", 0) * _part_decoded(image, data)
    check_work(*image.size, bytes_of(image) + beside, kind)
    scans = data.count(_SCAN) if image.format in ("JPEG", "MPO") else 0
    if scans < 2:
        return
    if full[0] * full[1] * scans > MOST_PASSED:
        raise ImageError(f"a JPEG of {full[0]}x{full[1]} pixels in {scans} passes is too much to "
                         "decode: save it anew")  # fmt: skip
    # In several passes, all coefficients are held, of two bytes each, and at full size.
    layers = [layer[1:3] for layer in getattr(image, "layer", ())]
    most = max((h * v for h, v in layers), default=1)
    held = 2 * sum(h * v / most for h, v in layers) if layers else 8
    part = image.width * image.height / max(1, full[0] * full[1])
    check_work(*full, held + bytes_of(image) * part, f"{kind} in {scans} passes")


def _part_decoded(image: Image.Image, data: bytes) -> float:
    """Part of an image that its decoder holds at a time: of JPEG 2000, a tile."""
    place = data.find(_SIZE) if image.format == "JPEG2000" else -1
    if place < 0 or place + 32 > len(data):
        return 1
    across, down = struct.unpack_from(">II", data, place + 24)
    return min(1, across * down / max(1, image.width * image.height))
