"""Transparent pictures: laid over a background."""

import io
import warnings

import numpy as np
from PIL import Image

from clusterkit.config import ImageConfig

# The usual formats of transparent pictures.
_FORMATS = ("PNG", "WEBP", "GIF", "TIFF")


def background_of(how: ImageConfig) -> tuple[int, int, int]:
    """Red, green and blue of what transparent pictures are laid over.

    >>> background_of(ImageConfig(background="white"))
    (255, 255, 255)
    """
    if isinstance(how.background, str):
        return (255, 255, 255) if how.background == "white" else (0, 0, 0)
    red, green, blue = how.background
    return red, green, blue


def has_alpha(image: Image.Image) -> bool:
    """Return True where an image may have transparent pixels."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def lay_over(image: Image.Image, how: ImageConfig) -> Image.Image:
    """RGB image of one with transparency, over the background."""
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*background_of(how), 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def is_transparent(data: bytes) -> bool:
    """Return True where an image has transparent pixels; False also where it cannot be read."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            warnings.simplefilter("ignore")
            alpha = image.convert("RGBA").getchannel("A") if has_alpha(image) else None
            return alpha is not None and bool(np.asarray(alpha).min() < 255)
    except Exception:
        return False
