"""Suspicion of burned-in text, cheaply: it may be a patient's name, and a model may read it."""

import numpy as np
from PIL import Image
from scipy import ndimage

# Longest side of the picture that is searched, in pixels.
_SIDE = 512

# Of a glyph, in pixels of the picture that is searched.
_LOWEST, _HIGHEST = 5, 30

# Grey levels: how light (or, in the negative, dark) a glyph is at least, and how far it stands
# out from what is around it.
_LIGHT, _CONTRAST = 150, 60

# Glyphs in a row from which on it is called text.
LEAST_GLYPHS = 4


def text_glyphs(image: Image.Image) -> int:
    """Count the marks on the line that looks most like burned-in text.

    A mark is a small connected patch of light (or, on light ground, dark) thin
    strokes on a ground that differs by at least 60 grey levels. Marks of similar height whose
    feet or middles lie on one horizontal line, without wide gaps, make a line.

    This is a heuristic without a model: calipers and specks in a row may be taken for text,
    and faint, slanted or very large text is missed.

    Parameters
    ----------
    image : RGB
        Of any size; it is searched with a longest side of at most 512 pixels.

    Returns
    -------
    int ≥ 0; from `LEAST_GLYPHS` on it is called text.
    """
    grey = np.asarray(_reduced(image), dtype=np.uint8)
    return max(_longest_line(_marks(grey)), _longest_line(_marks(255 - grey)))


def _reduced(image: Image.Image) -> Image.Image:
    grey = image.convert("L")
    scale = _SIDE / max(grey.size)
    if scale >= 1:
        return grey
    width, height = (max(1, round(side * scale)) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.LANCZOS)


def _marks(grey: np.ndarray) -> np.ndarray:
    """Return the boxes of what could be glyphs: (n, 4) int, top, bottom, left, right."""
    # What a square of seven pixels does not fit into stands out from its own opening.
    thin = grey - _of_seven(np.maximum, _of_seven(np.minimum, grey))
    mask = (grey >= _LIGHT) & (thin >= _CONTRAST)
    if not mask.any():
        return np.empty((0, 4), dtype=int)
    named, _ = ndimage.label(mask, np.ones((3, 3), dtype=int))
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(named), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not (_LOWEST <= height <= _HIGHEST and width <= 1.6 * height):
            continue
        inside = named[rows, columns] == number
        # A full box is a blot, unless it is as narrow as an I.
        if inside.mean() > 0.85 and width > 0.5 * height:
            continue
        boxes.append((rows.start, rows.stop, columns.start, columns.stop))
    return np.array(boxes, dtype=int).reshape(-1, 4)


def _of_seven(best: np.ufunc, grey: np.ndarray) -> np.ndarray:
    """Return the least or largest of 7 x 7 pixels; SciPy's filter takes some 15 times as long."""
    for _ in range(2):
        four = np.pad(grey.T, ((3, 3), (0, 0)), mode="edge")
        for step in (1, 2):
            four = best(four[:-step], four[step:])
        grey = best(four[:-3], four[3:])
    return grey


def _longest_line(boxes: np.ndarray) -> int:
    """Return the most marks that follow each other on one line."""
    if len(boxes) < LEAST_GLYPHS:
        return len(boxes)
    boxes = boxes[np.argsort(boxes[:, 2], kind="stable")]
    top, bottom, left, right = boxes.T
    height = bottom - top
    longest = np.ones(len(boxes), dtype=int)
    for i in range(1, len(boxes)):
        tall = np.minimum(height[i], height[:i])
        gap = left[i] - right[:i]
        level = (np.abs(bottom[i] - bottom[:i]) <= np.maximum(1, 0.15 * tall)) & (
            np.abs(height[i] - height[:i]) <= np.maximum(1, 0.25 * tall)
        )
        follows = level & (gap >= -1) & (gap <= 1.5 * tall)
        if follows.any():
            longest[i] += longest[:i][follows].max()
    return int(longest.max())
