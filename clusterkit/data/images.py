"""From a file of any kind that Pillow reads to one array with stated semantics."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clusterkit.errors import ImageError

# Decoding needs a few bytes a pixel: beyond this a small hostile file could fill the memory.
MAX_PIXELS = 200_000_000
MAX_BYTES = 2_000_000_000

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
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError,
            OverflowError, ZeroDivisionError, AttributeError, RuntimeError, NotImplementedError,
            struct.error) as error:  # fmt: skip
        # What Pillow's many readers raise on damaged files, one way or another.
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
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels")
        if size is not None and image.format == "JPEG":
            image.draft("RGB", (2 * size, 2 * size))
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return _scale_deep(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    span = high - low
    if not 0 < span < np.inf:
        return Image.new("RGB", image.size)
    # Infinities stand at the ends of the range; a missing value counts as the lowest.
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    grey = np.round((values - low) / span * 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
