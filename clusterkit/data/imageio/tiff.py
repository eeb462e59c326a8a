"""TIFF files: the page list, and the depths that Pillow would wrap around or refuse."""

import io
import logging
import struct
from mmap import mmap
from typing import TYPE_CHECKING

import numpy as np

from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ONLY_TIFFFILE = b"MM\0+"

# More pages than this are no scan; it also bounds what a hostile page list costs.
_MAX_PAGES = 100_000

# A reduced copy of another page, as scanners and microscopes store for a quick look.
_REDUCED = 1
_SUBFILE_TYPE = 254


def list_pages(data: bytes | mmap) -> list[int]:
    """Numbers, from 0, of the pages that are images of their own.

    Reduced copies (bit 0 of NewSubfileType) are left out, unless there are no other pages.

    Raises
    ------
    ImageError
        The page list is damaged, runs in a circle, or is endless.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset_type, count_type, count_size, entry = ("Q", "Q", 8, 20) if big else ("I", "H", 2, 12)
    reduced: list[bool] = []
    seen: set[int] = set()
    try:
        (offset,) = struct.unpack_from(order + offset_type, data, 8 if big else 4)
        while offset:
            if offset in seen:
                raise ImageError(f"the TIFF's page list runs in a circle after page {len(seen)}")
            if len(seen) >= _MAX_PAGES:
                raise ImageError(f"the TIFF has more than {_MAX_PAGES:,} pages")
            seen.add(offset)
            (count,) = struct.unpack_from(order + count_type, data, offset)
            first = offset + count_size
            end = first + count * entry
            (offset,) = struct.unpack_from(order + offset_type, data, end)
            reduced.append(_is_reduced(data, order, first, min(count, 8), entry))
    except (struct.error, OverflowError) as error:
        raise ImageError("damaged or truncated TIFF: its page list leads out of the file") from (
            error
        )
    whole = [page for page, small in enumerate(reduced) if not small]
    return whole or list(range(len(reduced)))


def read_deep(data: bytes, page: int, max_pixels: int) -> np.ndarray | None:
    """Values of a page that Pillow reads badly; None: it reads the page well.

    Badly read are depths of more than 8 unsigned bits, and BigTIFF of big-endian words.

    Parameters
    ----------
    data : bytes
        The file's contents.
    page : int
        Of those in `list_pages`.
    max_pixels : int
        Beyond it a file is refused before it is decoded.

    Returns
    -------
    (H, W), or (H, W, 3) for colour, or None
        Of the type that the file stores; white-is-zero is inverted.

    Raises
    ------
    ImageError
        Too large, or compressed in a way that cannot be decoded here.
    """
    import tifffile

    logger = logging.getLogger("tifffile")
    # It reports damage to the terminal; here damage is an error with its reason.
    logger.disabled = True
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            part = file.pages[page].aspage()
            kind = part.dtype
            shallow = kind is None or (kind.kind in "bu" and part.bitspersample <= 8)
            if shallow and data[:4] != _ONLY_TIFFFILE:
                return None
            if kind is None:
                raise ImageError("damaged or truncated TIFF: its values are of no known type")
            _check_size(part, kind, max_pixels)
            try:
                return _values(part)
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                _through_pillow(str(error), kind, part.samplesperpixel)
                return None
    finally:
        logger.disabled = False


def _check_size(part: "TiffPage", kind: np.dtype, max_pixels: int) -> None:
    """Refuse a page that is too large or no picture, before it is decoded."""
    pixels = part.imagewidth * part.imagelength
    if pixels > max_pixels:
        raise ImageError(f"{part.imagewidth}x{part.imagelength} is more than {max_pixels:,} pixels")
    if part.samplesperpixel > 8 or part.imagedepth > 1:
        raise ImageError(f"a TIFF of {part.samplesperpixel} channels and depth "
                         f"{part.imagedepth} is no picture")  # fmt: skip
    size = pixels * part.samplesperpixel * kind.itemsize
    if size > max_pixels * 8:
        raise ImageError(f"{size:,} bytes of values are more than {max_pixels * 8:,}")
    if 0 in part.databytecounts:
        raise ImageError("damaged or truncated TIFF: a part of it is empty")


def _values(part: "TiffPage") -> np.ndarray:
    """Values (H, W) or (H, W, 3) of a page, in which black is the lowest."""
    import tifffile

    values = part.asarray()
    if part.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if np.iscomplexobj(values):
        values = np.abs(values)
    if values.ndim == 3:
        values = values[..., :3] if values.shape[-1] >= 3 else values[..., 0]
    if part.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        # ~v turns the order round without leaving the type; -v does it for floats.
        values = ~values if values.dtype.kind in "iu" else -values
    return values


def _through_pillow(error: str, kind: np.dtype, samples: int) -> None:
    """Pass where Pillow reads a page well, though it is compressed in a way of its own.

    Raises
    ------
    ImageError
        Pillow does not.
    """
    if samples == 1 and kind in (np.uint16, np.int16, np.int32, np.float32):
        return
    if samples in (3, 4) and kind == np.uint16:
        return
    raise ImageError(f"a TIFF of type {kind} with a compression that needs a decoder: "
                     f"pip install imagecodecs ({error})")  # fmt: skip


def _is_reduced(data: bytes | mmap, order: str, first: int, count: int, entry: int) -> bool:
    """Return True where a page's NewSubfileType marks it as a reduced copy."""
    for place in range(first, first + count * entry, entry):
        (tag,) = struct.unpack_from(order + "H", data, place)
        if tag == _SUBFILE_TYPE:
            (value,) = struct.unpack_from(order + "I", data, place + (8 if entry == 12 else 12))
            return bool(value & _REDUCED)
    return False
