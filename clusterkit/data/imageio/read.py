"""Decoding of image files: any format and depth to RGB of 8 bits.

Eight-bit values are taken as they are. Deeper ones (DICOM, 16-bit PNG, TIFF of any type) become
bytes by a window, or by the image's own range: see `imageio.greys`. `config.image` holds the
settings, which a run keeps.
"""

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from clusterkit.config import ImageConfig
from clusterkit.data.guarded_path import check_opened, open_regular
from clusterkit.data.imageio import dicom, png, slides, tiff
from clusterkit.data.imageio.budget import MAX_PIXELS, check_decoding, check_pixels
from clusterkit.data.imageio.conversion import rgb_of_values, shrunk, upright_rgb
from clusterkit.data.imageio.failures import reasons
from clusterkit.data.imageio.image_formats import pillow_formats
from clusterkit.data.remote_files import is_remote, read_remote
from clusterkit.errors import ImageError

log = logging.getLogger("clusterkit")

MAX_BYTES = 2_000_000_000

# The last TIFF of several pages: its bytes, and where they are. Its pages follow each other.
_last: list[Any] = []


def read_bytes(path: Path | str) -> bytes:
    """Bytes of a whole file, of this machine or by its URL in a store.

    Raises
    ------
    ImageError
        There is no such file, it may not be read, or it is larger than `MAX_BYTES`; or a
        `GuardedPath` says that it is not. Of a URL see `read_remote`.
    """
    check_opened(path)
    if is_remote(path):
        return read_remote(path, MAX_BYTES)
    given, path = path, Path(path)
    try:
        # A pipe or a device would block for ever or never end.
        if path.exists() and not path.is_file():
            raise ImageError("not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"larger than {MAX_BYTES:,} bytes")
        with open_regular(path) as file:
            check_opened(given, file)
            return file.read()
    except MemoryError as error:
        raise ImageError("too large for the memory") from error
    except FileNotFoundError as error:
        raise ImageError("file does not exist") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot be read: {reason}") from error


def decode(
    data: bytes, size: int | None = None, how: ImageConfig | None = None, frame: int = 0
) -> Image.Image:
    """Decode one image to RGB.

    EXIF orientation is applied. Grey values deeper than 8 bits are scaled by `how`: a window, or
    the image's own percentiles, by default lowest to 0 and highest to 255; colours of 16 bits
    likewise, all channels by one range. Transparency is laid over `how.background`: black, which
    stands outside the scanned field in most medical pictures, if nothing else is asked for. Of a
    whole-slide pyramid, the largest level is read that has at most `MAX_PIXELS`. DICOM: see
    `imageio.dicom`.

    Parameters
    ----------
    data : bytes
        The file's contents.
    size : int or None
        The image will be resized to so many pixels: it may be decoded or shrunk to a fraction of
        its size, never below twice `size`.
    how : ImageConfig or None
        Window and percentiles; None: the defaults.
    frame : int
        Of DICOM and TIFF, from 0; of other formats always the first.

    Raises
    ------
    ImageError
        The file is empty, no image, damaged, truncated or too large; a short reason.
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    how = how or ImageConfig()
    with reasons(data), warnings.catch_warnings():
        # Pillow's warnings about a strange but readable file are not the user's concern.
        warnings.simplefilter("ignore")
        if dicom.is_dicom(data[:132]):
            image = dicom.read_frame(data, frame, how, MAX_PIXELS, MAX_BYTES)
            image = shrunk(image, size).convert("RGB")
        else:
            image = _decode(data, size, how, frame)
            # A comment or a name in a file's own words must not reach a thumbnail.
            image.info.clear()
        if 0 in image.size:
            raise ImageError(f"an image of {image.width}x{image.height} has no pixels")
        return image


def load_image(
    path: Path | str, size: int | None = None, how: ImageConfig | None = None, frame: int = 0
) -> Image.Image:
    """Read and decode one file to RGB.

    Raises
    ------
    ImageError
        As `read_bytes` and `decode`.
    """
    return decode(read_bytes(path), size, how, frame)


def image_size(path: Path | str, how: ImageConfig | None = None, frame: int = 0) -> tuple[int, int]:
    """Width and height in pixels of the image that `load_image` returns.

    Read from the header of most files; DICOM, TIFF and frames are decoded.

    Raises
    ------
    ImageError
        As `read_bytes` and `decode`.
    """
    path = Path(path)
    try:
        # A pipe would block for ever.
        if path.is_file() and not frame:
            with path.open("rb") as file:
                head = file.read(132)
            if head[:4] not in tiff.MAGIC and not dicom.is_dicom(head):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(path, formats=pillow_formats()) as image:
                        if image.format == "PNG" and not png.may_be_turned(path):
                            return image.size
                        turned = image.getexif().get(ExifTags.Base.Orientation) in range(5, 9)
                        return image.size[::-1] if turned else image.size
    except Exception as error:
        # Decoding gives a better reason.
        log.debug("no size in the header of %s: %s", path, error)
    return load_image(path, how=how, frame=frame).size


def to_array(
    image: Image.Image, size: int, resize: str = "squish", interpolation: str = "auto"
) -> np.ndarray:
    """Array (size, size, 3) uint8 of an RGB image, resized.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.
    size : int
        Pixels a side.
    resize : {"squish", "crop", "pad"}
        squish: change the aspect ratio. crop: keep it and cut the longer side. pad: keep it and
        fill with black.
    interpolation : {"auto", "nearest", "bilinear", "bicubic", "lanczos"}
        auto: bilinear.
    """
    box = (size, size)
    method = Image.Resampling["BILINEAR" if interpolation == "auto" else interpolation.upper()]
    if resize == "crop":
        image = ImageOps.fit(image, box, method)
    elif resize == "pad":
        image = ImageOps.pad(image, box, method, color=(0, 0, 0))
    else:
        image = image.resize(box, method)
    return np.array(image, dtype=np.uint8)


def seen_by_model(image: Image.Image, how: ImageConfig) -> np.ndarray:
    """Array (S, S, 3) uint8 of an RGB image, as a run's models see it."""
    return to_array(image, how.pixels, how.resize, how.interpolation)


def _decode(data: bytes, size: int | None, how: ImageConfig, frame: int) -> Image.Image:
    offset = None
    if data[:4] in tiff.MAGIC:
        offset = _choose_page(data, frame)
        values = tiff.read_deep(data, offset, MAX_PIXELS, how.channels)
        if values is not None:
            return rgb_of_values(values, size, how)
    elif frame:
        raise ImageError(f"frame {frame} does not exist: the file has one image, frame 0")
    try:
        return _open(data, size, how, offset)
    except (ImageError, Image.DecompressionBombError, MemoryError):
        raise
    except Exception:
        if data[:8] != png.MAGIC:
            raise
        plain = png.without_notes(data)
        if len(plain) == len(data):
            raise
        # A profile or a text that Pillow refuses is no reason: the pixels are whole, or fail.
        return _open(plain, size, how)


def _choose_page(data: bytes, frame: int) -> int:
    """Place in a TIFF of the directory of the page that is a frame."""
    if not _last or _last[0] is not data:
        level = slides.find_level(data, MAX_PIXELS)
        _last[:] = [data, tiff.list_pages(data) if level is None else [level]]
    pages = _last[1]
    if len(pages) == 1:
        _last.clear()
    if frame >= len(pages):
        raise ImageError(f"page {frame} does not exist: the file has {len(pages)}, from 0")
    return pages[frame]


def _open(
    data: bytes, size: int | None, how: ImageConfig, offset: int | None = None
) -> Image.Image:
    """RGB image of what Pillow reads; of a TIFF, the page at an offset."""
    file = io.BytesIO(data) if offset is None else slides.BeginningAt(data, offset)
    with Image.open(file, formats=pillow_formats()) as image:
        full = image.size
        check_pixels(*full, MAX_PIXELS)
        if size is not None and image.format == "JPEG":
            image.draft("RGB", (2 * size, 2 * size))
        if image.format == "PNG" and image.tile and image.tile[0].args == "RGB;16B":
            return rgb_of_values(png.colour_values(data), size, how)
        check_decoding(image, data, full)
        image.load()
        # An icon may hold a picture of another size than it says.
        check_pixels(*image.size, MAX_PIXELS)
        return upright_rgb(image, size, how)
