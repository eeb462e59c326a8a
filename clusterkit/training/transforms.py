"""Batch transforms: augmentation as far as the config allows it."""

import numpy as np
import torch

from clusterkit.config import AugmentConfig
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.training.fastai_names import (
    IntToFloatTensor,
    Normalize,
    TensorImage,
    aug_transforms,
)


def batch_transforms(augment: AugmentConfig, size: int, expects: EncoderInput) -> list:
    """Return fastai batch transforms: to float, `aug_transforms` as allowed, its scale."""
    return [
        IntToFloatTensor(),
        *aug_transforms(
            do_flip=augment.flip_horizontal or augment.flip_vertical,
            # fastai's flip_vert means all eight symmetries of the square.
            flip_vert=augment.flip_vertical,
            max_rotate=augment.max_rotate,
            min_zoom=1.0,
            max_zoom=augment.max_zoom,
            max_lighting=augment.max_lighting,
            max_warp=augment.max_warp,
            size=size,
        ),
        # cuda=False: the statistics follow the batch to its device by themselves.
        Normalize.from_stats(expects.mean, expects.std, cuda=False),
    ]


def tensor_image(image: np.ndarray) -> TensorImage:
    """Wrap uint8 RGB (S, S, 3) as fastai's (3, S, S) image tensor."""
    return TensorImage(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
