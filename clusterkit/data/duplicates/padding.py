"""Even margins around a picture, from padding or turning, and their removal.

Images padded to one shape share the edges of their padding, and these edges are stronger than
most of what is in a picture: left in, any two of them would look alike.
"""

import numpy as np
from PIL import Image

# Sides are reduced to about this many pixels to look for the margin.
_SIDE = 256
# Grey levels by which the corners may differ, and those from which on a pixel is picture: the
# lower for dark pictures, the higher against traces of compression along the edges.
_EVEN, _CONTENT = 8, (12, 40)
# Parts of the area and of the side by which a rectangle may differ from a perfect one.
_AREA, _CORNER = 0.04, 0.03
_RIGHT_ANGLE = 0.06


def without_margin(image: Image.Image) -> Image.Image:
    """Picture within an even margin, or the image itself.

    A margin is taken off only if all four corners are of one colour and the pixels of other
    colours are a full rectangle, upright (padding) or tilted (turned on a larger canvas). A
    round cell on black stays as it is.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode L or RGB.
    """
    step = max(1, max(image.size) // _SIDE)
    grey = image.convert("L")
    small = np.asarray(grey.reduce(step) if step > 1 else grey, dtype=np.int16)
    corners = small[[0, 0, -1, -1], [0, -1, 0, -1]]
    if np.ptp(corners) > _EVEN or min(small.shape) < 8:
        return image
    distance = np.abs(small - int(np.median(corners)))
    for least in _CONTENT:
        found = _rectangle(distance > least)
        if found is None:
            continue
        if len(found) == 2:
            limit = np.array([image.size, image.size])
            return image.crop(tuple(np.minimum(found * step, limit).ravel().tolist()))
        return _upright(image, found * step, step)
    return image


def _rectangle(content: np.ndarray) -> np.ndarray | None:
    """Corners (x, y) of the rectangle that is content: (2, 2) upright, (4, 2) tilted, or None."""
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    if not len(rows):
        return None
    # From the first to the last pixel of each row: dark places within the picture are part of it.
    first = content[rows].argmax(axis=1)
    last = content.shape[1] - content[rows][:, ::-1].argmax(axis=1)
    area = float((last - first).sum())
    height, width = content.shape
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    if area < content.size / 10 or area > (1 - _AREA) * content.size:
        return None
    if area >= (1 - _AREA) * (right - left) * (bottom - top):
        return np.array([[left, top], [right, bottom]])
    roughly = np.array([
        [(first[0] + last[0]) / 2, top],
        [left, rows[first == left].mean() + 0.5],
        [(first[-1] + last[-1]) / 2, bottom],
        [right, rows[last == right].mean() + 0.5],
    ])  # fmt: skip
    tilted = _sharpen(roughly, content)
    # A side that leaves the canvas was cut off: the image was turned, but nothing laid around it.
    beyond = 1.5 + max(width, height) / 100
    half = np.array([width, height]) / 2
    if tilted is None or (np.abs(tilted - half) > half + beyond).any():
        return None
    return tilted if _is_rectangle(tilted, area) else None


def _sharpen(corners: np.ndarray, content: np.ndarray) -> np.ndarray | None:
    """Corners (4, 2) at which lines fitted to the four sides meet, from roughly known corners.

    The tip of a corner is a pixel or two off, which is much for a small picture.
    """
    height, width = content.shape
    outlines = {
        "left": content.argmax(axis=1),
        "right": width - content[:, ::-1].argmax(axis=1),
        "top": content.argmax(axis=0),
        "bottom": height - content[::-1].argmax(axis=0),
    }
    # By side, from the top corner to the left one and on: where it shows in rows, in columns.
    names = [("left", "top"), ("left", "bottom"), ("right", "bottom"), ("right", "top")]
    lines = []
    for side, (by_row, by_column) in enumerate(names):
        start, end = corners[side], corners[(side + 1) % 4]
        steep = abs(end - start)[1] > abs(end - start)[0]
        low, high = sorted((start[int(steep)], end[int(steep)]))
        spare = 0.1 * (high - low) + 1
        places = np.arange(int(low + spare), int(high - spare))
        if len(places) < 4:
            return None
        slope, offset = np.polyfit(
            places + 0.5, outlines[by_row if steep else by_column][places], 1
        )
        # As (normal, constant) of normal · (x, y) = constant.
        lines.append(([1.0, -slope] if steep else [-slope, 1.0], offset))
    met = []
    for side in range(4):
        (one, c), (two, d) = lines[side - 1], lines[side]
        if abs(np.linalg.det([one, two])) < 0.1:
            return None
        met.append(np.linalg.solve([one, two], [c, d]))
    return np.array(met)


def _is_rectangle(corners: np.ndarray, area: float) -> bool:
    """Return True where corners (4, 2), in order, are those of a rectangle of that area."""
    one, two = corners[1] - corners[0], corners[3] - corners[0]
    lengths = np.linalg.norm(one), np.linalg.norm(two)
    if min(lengths) < 8:
        return False
    product = lengths[0] * lengths[1]
    apart = np.linalg.norm(corners[0] + corners[2] - corners[1] - corners[3]) / 2
    return bool(
        abs(one @ two) <= _RIGHT_ANGLE * product
        and apart <= _CORNER * max(lengths) + 1
        and abs(product - area) <= _AREA * area
    )


def _upright(image: Image.Image, corners: np.ndarray, step: int) -> Image.Image:
    """Picture within tilted corners (4, 2), turned upright."""
    # The outermost pixels are mixed with the margin.
    centre = corners.mean(axis=0)
    inward = 1 - 2 * step / np.linalg.norm(corners - centre, axis=1, keepdims=True)
    corners = centre + (corners - centre) * inward
    width = round(float(np.linalg.norm(corners[3] - corners[0])))
    height = round(float(np.linalg.norm(corners[1] - corners[0])))
    return image.transform(
        (max(1, width), max(1, height)),
        Image.Transform.QUAD,
        data=tuple(float(value) for value in corners.ravel()),
        resample=Image.Resampling.BICUBIC,
    )
