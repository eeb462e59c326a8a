"""Mirror images that heads on cached features learn from; no fastai is imported for them."""

import numpy as np

from clusterkit.config import AugmentConfig
from clusterkit.data.mirror_images import mirror_images


def flipped_views(images: np.ndarray, augment: AugmentConfig) -> list[np.ndarray]:
    """Return the images (N, S, S, 3) and every mirror image that the config allows.

    Cached features cannot be augmented, so head-only training learns from these instead.
    """
    return mirror_images(images, augment.flip_horizontal, augment.flip_vertical)
