"""Thumbnails and CAM overlays as files."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from clusterkit.errors import ClusterkitError, OutputError
from clusterkit.formats.atomic import replacing
from clusterkit.output import check_writable, writing

CAMS_OPTION = "--cams FILE.png"

_SOFTWARE = "clusterkit"

# Longest side of a thumbnail, in pixels.
THUMB = 256
# And of a member of a cluster that has no card: as large as it is shown to be looked at.
TILE = 160

# Perceptually even, and readable without colour vision.
_COLOURS = colormaps["viridis"]
_PALETTE = np.uint8(_COLOURS(np.arange(256))[:, :3] * 255).tobytes()
_ALPHA = np.linspace(0, 215, 256).round().astype(np.uint8).tobytes()


def heat_picture(heat: np.ndarray, shape: tuple[int, int]) -> Image.Image:
    """Turn a heat map into a small picture that is stretched over its thumbnail.

    Colours are viridis from 0 to 1, and the weaker, the more transparent: where nothing speaks
    for the label, the image itself is seen.

    Parameters
    ----------
    heat : (S, S) float in [0, 1]
    shape : (width, height)
        Of the thumbnail: the picture gets its proportions.
    """
    side = len(heat)
    longest = max(shape)
    width, height = (max(1, round(side * s / longest)) for s in shape)
    box = width, height
    levels = Image.fromarray(np.uint8(heat * 255)).resize(box, Image.Resampling.BILINEAR)
    picture = Image.frombytes("P", box, levels.tobytes())
    picture.putpalette(_PALETTE)
    picture.info["transparency"] = _ALPHA
    return picture


def overlay(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """Blend a heat map over an image of the same field of view.

    Parameters
    ----------
    image : RGB
    heat : (S, S) float in [0, 1]
        Resized to the image; where it is 0 the image is hardly changed.
    """
    scaled = Image.fromarray(np.uint8(heat * 255)).resize(image.size, Image.Resampling.BILINEAR)
    level = np.asarray(scaled, dtype=np.float32) / 255
    colour = _COLOURS(level)[..., :3] * 255
    opacity = (0.15 + 0.5 * level)[..., None]
    blended = np.asarray(image, dtype=np.float32) * (1 - opacity) + colour * opacity
    return Image.fromarray(blended.round().clip(0, 255).astype(np.uint8))


def thumbnail(
    image: Image.Image, pixels: np.ndarray, resize: str, longest: int = THUMB
) -> Image.Image:
    """Return a thumbnail that shows exactly the field that the model saw.

    Squished images get their shape back; cropped and padded ones are shown as the model's
    square, because a heat map would not lie rightly on the whole picture.

    Parameters
    ----------
    image : RGB
    pixels : (S, S, 3) uint8
        The image as the model sees it.
    resize : {"squish", "crop", "pad"}
    longest : int

    Returns
    -------
    RGB picture whose longer side is `longest` pixels.
    """
    source = image if resize == "squish" else Image.fromarray(pixels)
    scale = longest / max(source.size)
    width, height = (max(1, round(side * scale)) for side in source.size)
    return source.resize((width, height), Image.Resampling.BILINEAR)


def file_stem(image_id: str) -> str:
    """Turn an id into a file name: a table from a stranger may hold anything in its place."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in image_id)[:40]


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture of the page through a temporary name: a heat map as PNG, others as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "wb", sync=False) as file:
        if path.suffix == ".png":
            image.save(file, format="PNG", transparency=image.info.get("transparency"))
        else:
            image.save(file, format="JPEG", quality=88)


def save_png(image: Image.Image, path: Path, option: str = "file") -> None:
    """Write a PNG to a path that a user named, through a temporary name.

    Parameters
    ----------
    image : Image
    path : Path
    option : str
        What names another path, e.g. ``--out FILE.png``.

    Raises
    ------
    ClusterkitError
        It cannot be written there, or there is a file that clusterkit did not write.
    """
    _check_ours(path, option)
    text = PngInfo()
    text.add_text("Software", _SOFTWARE)
    with writing(path, option), replacing(path, "wb") as file:
        image.save(file, format="PNG", pnginfo=text)


def check_picture(path: Path | str | None, option: str, *, makes_folder: bool = False) -> None:
    """Raise what `save_png` would raise, before anything is computed; None: nothing is drawn.

    Parameters
    ----------
    path : path or None
    option : str
        See `save_png`.
    makes_folder : bool
        The caller makes the folder that it is in.
    """
    if path is None:
        return
    path = Path(path)
    check_writable(path, option)
    if not makes_folder and not path.parent.exists():
        raise OutputError(f"cannot write {path}: its folder does not exist; make it, or give "
                          f"another {option}")  # fmt: skip
    _check_ours(path, option)


def _check_ours(path: Path, option: str) -> None:
    if path.exists() and not _is_ours(path):
        raise ClusterkitError(
            f"{path} exists and is no picture that clusterkit wrote; give another {option}"
        )


def _is_ours(path: Path) -> bool:
    """Return whether clusterkit wrote a file: a mistyped name must not cost a scan."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
