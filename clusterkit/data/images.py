"""From a file of any kind that Pillow reads to one array with stated semantics."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from clusterkit.errors import ImageError

# Decoding needs a few bytes a pixel: beyond this a small hostile file could fill the memory.
# Just below Pillow's own limit (178,956,970), which would speak first and say less.
MAX_PIXELS = 178_000_000
MAX_BYTES = 2_000_000_000

# Not pictures, or drawn by another program: Pillow hands PostScript to Ghostscript, whatever
# the file is called. A stranger's image must not start an interpreter.
_REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}

# The deep modes are scaled in parts of so many pixels, so that the floats stay small.
_PART = 4_000_000

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


def read_bytes(path: Path | str) -> bytes:
    """Read a whole file.

    Raises
    ------
    ImageError
        There is no such file, it may not be read, or it is larger than `MAX_BYTES`.
    """
    path = Path(path)
    try:
        # A pipe or a device would block for ever or never end.
        if path.exists() and not path.is_file():
            raise ImageError("not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"larger than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except MemoryError as error:
        raise ImageError("too large for the memory") from error
    except FileNotFoundError as error:
        raise ImageError("file does not exist") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot be read: {reason}") from error


def decode(data: bytes, name: str = "", size: int | None = None) -> Image.Image:
    """Decode one image to RGB.

    EXIF orientation is applied. Grey values deeper than 8 bits are scaled by the image's own
    range, lowest to 0 and highest to 255. Transparency is laid over black, which is what
    stands outside the scanned field in most medical pictures. Of several frames, the first.

    Parameters
    ----------
    data : bytes
        The file's contents.
    name : str
        Not used to decode; part of no message. Kept for readers that go by file ending.
    size : int or None
        The image will be resized to so many pixels: a large JPEG may be decoded at a
        fraction of its size, never below twice `size`.

    Raises
    ------
    ImageError
        With a short reason: empty, not an image, truncated, too large.
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Pillow's warnings about a strange but readable file are not the user's concern.
            warnings.simplefilter("ignore")
            return _decode(data, size)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise ImageError("too large for the memory") from error
    except Exception as error:
        # Pillow's many readers raise anything on damaged files, failed assertions and
        # struct.error among them; one bad image must never stop a batch.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"damaged or truncated image: {reason}") from error


def load_image(path: Path | str, size: int | None = None) -> Image.Image:
    """Read and decode one file to RGB; see `decode`."""
    return decode(read_bytes(path), Path(path).name, size)


def to_array(image: Image.Image, size: int, resize: str = "squish") -> np.ndarray:
    """Resize an RGB image to a uint8 array (size, size, 3).

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.
    size : int
        Pixels a side.
    resize : {"squish", "crop", "pad"}
        Change the aspect; keep it and cut the longer side; keep it and fill with black.
    """
    box = (size, size)
    if resize == "crop":
        image = ImageOps.fit(image, box, Image.Resampling.BILINEAR)
    elif resize == "pad":
        image = ImageOps.pad(image, box, Image.Resampling.BILINEAR, color=(0, 0, 0))
    else:
        image = image.resize(box, Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def _decode(data: bytes, size: int | None) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels")
        if size is not None and image.format == "JPEG":
            image.draft("RGB", (2 * size, 2 * size))
        image.load()
        return _to_rgb(_upright(image))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _REFUSED)


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the EXIF block anew, which fails on a damaged one
    # and would lose an image whose pixels are whole.
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return _scale_deep(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    rows = max(1, _PART // max(1, values.shape[1]))
    parts = [slice(start, start + rows) for start in range(0, values.shape[0], rows)]
    low, high = np.inf, -np.inf
    for part in parts:
        finite = values[part][np.isfinite(values[part])]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    span = high - low
    if not 0 < span < np.inf:
        return Image.new("RGB", image.size)
    grey = np.empty(values.shape, dtype=np.uint8)
    for part in parts:
        # Infinities stand at the ends of the range; a missing value counts as the lowest.
        exact = np.nan_to_num(values[part].astype(np.float64), nan=low, posinf=high, neginf=low)
        grey[part] = np.round((exact - low) / span * 255)
    return Image.fromarray(grey).convert("RGB")
