"""Features of the encoder that training starts from, computed once."""

import numpy as np
import torch
from torch import nn

from clusterkit.config import AugmentConfig
from clusterkit.encoders.encoder import Encoder
from clusterkit.models.networks import Networks, embed_all
from clusterkit.progress import StageProgress
from clusterkit.training.views import flipped_views

# Images embedded between two calls of `progress`; their mirror images are all that is copied.
_CHUNK = 128


def embed_views(
    encoder: Encoder,
    images: np.ndarray,
    augment: AugmentConfig,
    device: str,
    progress: StageProgress,
) -> torch.Tensor:
    """Return pooled features (V, N, D) of images and of all mirror images that are allowed.

    Parameters
    ----------
    encoder : Encoder
    images : (N, S, S, 3) uint8
    augment : AugmentConfig
    device : str
    progress : callable
        Called with (done, total) in images; each mirror image counts as one.

    Returns
    -------
    Views in the order of `flipped_views`, float32, on the CPU.
    """
    networks = Networks(encoder, nn.Identity(), nn.Sequential()).to(device)
    parts, views = [], len(flipped_views(images[:1], augment))
    for start in range(0, len(images), _CHUNK):
        chunk = flipped_views(images[start : start + _CHUNK], augment)
        found = [embed_all(networks, view, device).siamese for view in chunk]
        parts.append(torch.stack(found))
        progress(views * min(start + _CHUNK, len(images)), views * len(images))
    return torch.cat(parts, dim=1)


class CachedFeatures:
    """Features of the encoder that training starts from, computed once per set of views.

    Both networks, all folds and, where fine-tuning is compared with heads on frozen features,
    both strategies start from the same weights.

    Parameters
    ----------
    encoder : Encoder
        Not trained while this is in use.
    images : (N, S, S, 3) uint8
    device : str
    progress : callable
        See `embed_views`.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: np.ndarray,
        device: str,
        progress: StageProgress,
    ) -> None:
        self.encoder, self.images, self.device = encoder, images, device
        self.progress = progress
        self._views: dict[tuple[bool, bool], torch.Tensor] = {}

    def taking(self, kept: np.ndarray, images: np.ndarray) -> "CachedFeatures":
        """Return those of a mask (N,) bool of the images, which are given too."""
        other = CachedFeatures(self.encoder, images, self.device, self.progress)
        other._views = {key: found[:, kept] for key, found in self._views.items()}
        return other

    def views(self, augment: AugmentConfig) -> torch.Tensor:
        """Return features (V, N, D) of the views that `augment` allows."""
        key = (augment.flip_horizontal, augment.flip_vertical)
        if key not in self._views:
            whole = self._views.get((True, True))
            # Of all four views the first are those of fewer flips, but for up and down alone.
            if whole is not None and key != (False, True):
                self._views[key] = whole[: 1 + key[0]]
            else:
                found = embed_views(self.encoder, self.images, augment, self.device, self.progress)
                self._views[key] = found
        return self._views[key]
