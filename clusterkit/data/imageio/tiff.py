"""TIFF files: the page list, and the depths that Pillow would wrap around or refuse."""

import logging
import lzma
import struct
import zlib
from mmap import mmap
from typing import TYPE_CHECKING

import numpy as np

from clusterkit.data.imageio.budget import check_work
from clusterkit.data.imageio.slides import BeginningAt
from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ONLY_TIFFFILE = b"MM\0+"

# More pages than this are no scan; it also bounds what a hostile page list costs.
_MAX_PAGES = 100_000

# Compressions of JPEG 2000, JPEG XL and others that Pillow does not know in a TIFF.
_NOT_PILLOWS = (33003, 33004, 33005, 33007, 34712, 34887, 34892, 50001, 50002, 52546)

_NEEDS_CODEC = ("a TIFF of type {} with a compression that needs a decoder: "
                "pip install imagecodecs ({})")  # fmt: skip

# What deflate and LZMA may inflate a byte to, and how many bytes of a part are little.
_DEFLATE, _LZMA, _LITTLE = 1100, 8000, 100_000_000

# A reduced copy of another page, as scanners and microscopes store for a quick look.
_REDUCED = 1
_SUBFILE_TYPE = 254


def list_pages(data: bytes | mmap) -> list[int]:
    """Places of the directories of the pages that are images of their own.

    Reduced copies (bit 0 of NewSubfileType) are left out, unless there are no other pages.

    Raises
    ------
    ImageError
        The page list is damaged, runs in a circle, or is endless.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset_type, count_type, count_size, entry = ("Q", "Q", 8, 20) if big else ("I", "H", 2, 12)
    reduced: dict[int, bool] = {}
    try:
        (offset,) = struct.unpack_from(order + offset_type, data, 8 if big else 4)
        while offset:
            if offset in reduced:
                raise ImageError(f"the TIFF's page list runs in a circle after page {len(reduced)}")
            if len(reduced) >= _MAX_PAGES:
                raise ImageError(f"the TIFF has more than {_MAX_PAGES:,} pages")
            page = offset
            (count,) = struct.unpack_from(order + count_type, data, offset)
            first = offset + count_size
            end = first + count * entry
            (offset,) = struct.unpack_from(order + offset_type, data, end)
            reduced[page] = _is_reduced(data, order, first, min(count, 8), entry)
    except (struct.error, OverflowError) as error:
        raise ImageError("damaged or truncated TIFF: its page list leads out of the file") from (
            error
        )
    whole = [page for page, small in reduced.items() if not small]
    return whole or list(reduced)


def read_deep(
    data: bytes, offset: int, max_pixels: int, channels: list[int] | None = None
) -> np.ndarray | None:
    """Values of a page that Pillow reads badly; None: it reads the page well.

    Badly read are depths of more than 8 unsigned bits, BigTIFF of big-endian words, and channels
    that are neither one grey nor red, green and blue, with or without transparency.

    Parameters
    ----------
    data : bytes
        The file's contents.
    offset : int
        Of those in `list_pages`.
    max_pixels : int
        Beyond it a file is refused before it is decoded.
    channels : list of int or None
        Of a file of several: the one that is grey, or those that are red, green and blue.

    Returns
    -------
    (H, W), or (H, W, 3) for colour, or None
        Of the type that the file stores; white-is-zero is inverted.

    Raises
    ------
    ImageError
        Too large, compressed in a way that cannot be decoded here, or of channels of which
        nothing says which are red, green and blue.
    """
    import tifffile

    logger = logging.getLogger("tifffile")
    # It reports damage to the terminal; here damage is an error with its reason.
    logger.disabled = True
    try:
        with tifffile.TiffFile(BeginningAt(data, offset)) as file:
            part = file.pages[0].aspage()
            kind = part.dtype
            chosen = _choose_channels(part, channels)
            shallow = kind is None or (kind.kind in "bu" and part.bitspersample <= 8)
            usual = chosen is None and part.compression not in _NOT_PILLOWS
            if shallow and usual and data[:4] != _ONLY_TIFFFILE:
                return None
            if kind is None:
                raise ImageError("damaged or truncated TIFF: its values are of no known type")
            _check_size(part, kind, max_pixels, chosen)
            _check_parts(part, kind, memoryview(data))
            try:
                return _values(part, chosen)
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                if chosen is not None:
                    raise ImageError(_NEEDS_CODEC.format(kind, error)) from None
                _through_pillow(str(error), kind, part.samplesperpixel)
                return None
    finally:
        logger.disabled = False


def _check_size(
    part: "TiffPage", kind: np.dtype, max_pixels: int, chosen: list[int] | None
) -> None:
    """Refuse a page that is too large or no picture, before it is decoded."""
    pixels = part.imagewidth * part.imagelength
    if pixels > max_pixels:
        raise ImageError(f"{part.imagewidth}x{part.imagelength} is more than {max_pixels:,} pixels")
    if not pixels:
        raise ImageError(f"a TIFF of {part.imagewidth}x{part.imagelength} has no pixels")
    if part.imagedepth > 1:
        raise ImageError(f"a TIFF of depth {part.imagedepth} is no picture")
    # The values, those of the channels that are shown, and greys or colours of 8 bits.
    stored = part.samplesperpixel * kind.itemsize
    shown = kind.itemsize * len(chosen or ()) + 2 * min(3, part.samplesperpixel)
    check_work(part.imagewidth, part.imagelength, stored + shown, f"TIFF ({kind})")
    if 0 in part.databytecounts:
        raise ImageError("damaged or truncated TIFF: a part of it is empty")


def _check_parts(part: "TiffPage", kind: np.dtype, data: memoryview) -> None:
    """Refuse a page of which a part is inflated to more than the page holds."""
    most = part.imagewidth * part.imagelength * part.samplesperpixel * kind.itemsize
    if part.is_tiled:
        # A tile may be larger than the picture.
        most = max(most, part.tilewidth * part.tilelength * part.samplesperpixel * kind.itemsize)
        check_work(part.tilewidth, part.tilelength, part.samplesperpixel * kind.itemsize, "a tile")
    ratio = {8: _DEFLATE, 32946: _DEFLATE, 34925: _LZMA}.get(int(part.compression), 0)
    for start, count in zip(part.dataoffsets, part.databytecounts, strict=False):
        # Whatever it holds, so much is little.
        if count * ratio <= _LITTLE:
            continue
        inflater = zlib.decompressobj() if ratio == _DEFLATE else lzma.LZMADecompressor()
        if len(inflater.decompress(data[start : start + count], most + 1)) > most:
            raise ImageError("damaged TIFF: a part of it is larger than the page")


def _choose_channels(part: "TiffPage", wanted: list[int] | None) -> list[int] | None:
    """Channels that are the picture; None: grey or colour as every program reads it.

    Raises
    ------
    ImageError
        Nothing says which of the channels they are.
    """
    import tifffile

    n, kinds = part.samplesperpixel, tifffile.PHOTOMETRIC
    if n < 2 or part.photometric not in (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB):
        return None
    if wanted is not None:
        if max(wanted) >= n:
            raise ImageError(f"a TIFF of {n} channels, numbered from 0; [image] channels = "
                             f"{wanted} names others")  # fmt: skip
        return wanted
    # What the file calls transparency (associated or not) is no channel.
    extra = [int(kind) for kind in part.extrasamples]
    own = n - sum(kind in (1, 2) for kind in extra)
    if part.photometric == kinds.RGB and own <= 4:
        return None
    if own == 1:
        return None if n == 2 and extra == [2] else [0]
    if own == 3 and extra[:2] == [0, 0]:
        return [0, 1, 2]
    colours = "are red, green, blue with [image] channels = [0, 1, 2], or which one " * (own > 2)
    raise ImageError(f"a TIFF of {n} channels: say which {colours}{'' if own > 2 else 'one '}is "
                     "shown with [image] channels = [0], numbered from 0")  # fmt: skip


def _values(part: "TiffPage", chosen: list[int] | None) -> np.ndarray:
    """Values (H, W) or (H, W, 3) of a page, in which black is the lowest."""
    import tifffile

    values = part.asarray()
    if part.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if np.iscomplexobj(values):
        values = np.abs(values)
    if values.ndim == 3:
        # What stands side by side is not copied.
        values = values[..., : 3 if values.shape[-1] >= 3 else 1] if chosen is None else (
            values[..., chosen])  # fmt: skip
        values = values[..., 0] if values.shape[-1] == 1 else values
    if part.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        # ~v turns the order round without leaving the type; -v does it for floats.
        turn = np.invert if values.dtype.kind in "iu" else np.negative
        values = turn(values, out=values)
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
    raise ImageError(_NEEDS_CODEC.format(kind, error))


def _is_reduced(data: bytes | mmap, order: str, first: int, count: int, entry: int) -> bool:
    """Return True where a page's NewSubfileType marks it as a reduced copy."""
    for place in range(first, first + count * entry, entry):
        (tag,) = struct.unpack_from(order + "H", data, place)
        if tag == _SUBFILE_TYPE:
            (value,) = struct.unpack_from(order + "I", data, place + (8 if entry == 12 else 12))
            return bool(value & _REDUCED)
    return False
