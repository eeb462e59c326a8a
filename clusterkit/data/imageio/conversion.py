"""Conversion of decoded pixels of any mode and depth to RGB, within the memory of `budget`.

What would take several copies of a large picture is done in bands of rows, which gives the same.
"""

from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image

from clusterkit.config import ImageConfig
from clusterkit.data.imageio.bands import BAND
from clusterkit.data.imageio.budget import bytes_of, check_work, fits
from clusterkit.data.imageio.greys import to_bytes, window_of
from clusterkit.data.imageio.transparency import has_alpha, lay_over

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Modes with more than 8 bits a channel; Pillow's own conversion cuts them off at 255.
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

# Bytes a pixel beside the deep image itself: its values once more, greys, and RGB.
_OF_GREYS, _OF_RGB = 1, 4


def upright_rgb(image: Image.Image, size: int | None, how: ImageConfig) -> Image.Image:
    """RGB image of a loaded one, turned as its EXIF orientation says.

    Parameters
    ----------
    image : Image
        Of any mode.
    size : int or None
        It will be resized to so many pixels, and may be shrunk to not less than twice that.
    how : ImageConfig
        Window and percentiles of deep greys, background of what is transparent.

    Raises
    ------
    ImageError
        It would take too much memory.
    """
    turn = _turn_of(image)
    image = _to_rgb(shrunk(image, size), size, how)
    if turn is None:
        return image
    check_work(*image.size, 2 * _OF_RGB, "a picture that is turned by its EXIF notes")
    return image.transpose(turn)


def shrunk(image: Image.Image, size: int | None) -> Image.Image:
    """Image shrunk by a whole factor (box average) where it is far larger, before it is copied."""
    factor = _factor(image, size)
    if factor < 2 or image.mode not in ("L", "RGB"):
        return image
    return image.reduce(factor)


def rgb_of_values(values: np.ndarray, size: int | None, how: ImageConfig) -> Image.Image:
    """RGB image of values (H, W) or (H, W, 3) of any type.

    Raises
    ------
    ImageError
        It would take too much memory.
    """
    if values.dtype == np.uint8:
        return shrunk(Image.fromarray(values), size).convert("RGB")
    # A window is in the units of a grey scanner; colours have no such units.
    window = window_of(how.window) if values.ndim == 2 else None
    image = Image.fromarray(to_bytes(values, window, how.percentiles, values.dtype.kind == "f"))
    image = shrunk(image, size)
    if image.size == values.shape[1::-1]:
        held = (values.itemsize + 1) * values[0, 0].size + _OF_RGB
        check_work(*image.size, held, f"{values.dtype} values")
    return image.convert("RGB")


def _factor(image: Image.Image, size: int | None) -> int:
    return min(image.size) // (2 * size) if size else 1


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    # ImageOps.exif_transpose also writes the EXIF block anew, which fails on a damaged one
    # and would lose an image whose pixels are whole.
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 0))
    except Exception:
        return None


def _to_rgb(image: Image.Image, size: int | None, how: ImageConfig) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    deep = image.mode in _DEEP
    beside = bytes_of(image) + _OF_GREYS + _OF_RGB if deep else _OF_RGB
    whole = fits(image, beside)
    if not whole and _factor(image, size) < 2:
        check_work(*image.size, bytes_of(image) + beside, image.mode)
    # Shrunk only where it has to be: a picture of usual size is resized at once.
    size = None if whole else size
    if deep:
        return rgb_of_values(np.asarray(image), size, how)
    if has_alpha(image):
        return _in_bands(image, lambda band: lay_over(band, how), _factor(image, size))
    return _in_bands(image, lambda band: band.convert("RGB"), _factor(image, size))


def _in_bands(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image], factor: int
) -> Image.Image:
    """RGB image that `convert` makes of one, shrunk by a factor, a few rows at a time."""
    width, height = image.size
    rows = max(1, BAND // (width * factor)) * factor
    if rows >= height:
        whole = convert(image)
        return whole.reduce(factor) if factor > 1 else whole
    out = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(height, top + rows))))
        out.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return out
