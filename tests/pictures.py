"""Pictures that tests draw."""

import numpy as np
from PIL import Image


def clouds(rng, size=64):
    """A picture that is like no other: coloured clouds of several sizes."""
    values = np.zeros((size, size, 3))
    for cells in (3, 6, 12, 24):
        coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        values += np.asarray(smooth, dtype=float)
    return Image.fromarray(np.uint8(40 + values / 4 * 0.6))
