"""Mirror images of pictures: left to right, up and down, both."""

import numpy as np


def mirror_images(images: np.ndarray, across: bool, upright: bool) -> list[np.ndarray]:
    """Return images (N, S, S, 3) and their mirror images, views of the same memory.

    Parameters
    ----------
    images : (N, S, S, 3)
    across : bool
        Left and right are exchanged.
    upright : bool
        Up and down are exchanged, of all that is there by then.
    """
    views = [images]
    if across:
        views.append(images[:, :, ::-1])
    if upright:
        views += [view[:, ::-1] for view in list(views)]
    return views
