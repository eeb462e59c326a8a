"""Features of the encoder that training starts from, computed once."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from clusterkit.config import AugmentConfig
from clusterkit.encoders.encoder import Encoder
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.models.forward import FLOAT32, whole_batches
from clusterkit.models.networks import Networks
from clusterkit.progress import StageProgress
from clusterkit.training.shards import CHUNK, embed_chunk, in_turns
from clusterkit.training.views import flipped_views


def embed_views(
    encoder: Encoder,
    images: np.ndarray,
    augment: AugmentConfig,
    device: str,
    progress: StageProgress,
    journal: KeepsNothing | None = None,
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
    journal : KeepsNothing or None
        Keeps them, where the encoder is the one that training starts from.

    Returns
    -------
    Views in the order of `flipped_views`, float32, on the CPU.
    """
    networks, views = encoding(encoder, device), len(flipped_views(images[:1], augment))
    work = partial(_embed_chunk, networks, augment=augment, device=device)
    name = f"views-{augment.flip_horizontal:d}{augment.flip_vertical:d}"
    parts = []
    for part in _kept_chunks(work, images, CHUNK, name, journal or KeepsNothing()):
        parts.append(part)
        progress(views * min(len(parts) * CHUNK, len(images)), views * len(images))
    return torch.cat(parts, dim=1)


def embed_kept(
    networks: Networks,
    images: np.ndarray,
    device: str,
    progress: StageProgress,
    journal: KeepsNothing,
) -> torch.Tensor:
    """Return pooled features (N, D) of images (N, S, S, 3) in the networks' own precision.

    Parameters
    ----------
    networks : Networks
        With the encoder that training starts from.
    images, device, progress, journal
        See `embed_views`.
    """
    parts, size = [], whole_batches(CHUNK)
    work = partial(_embed_plain, networks, device=device)
    for part in _kept_chunks(work, images, size, networks.precision, journal):
        parts.append(part)
        progress(min(len(parts) * size, len(images)), len(images))
    return torch.cat(parts)


def _kept_chunks(
    work: Callable[[np.ndarray], torch.Tensor],
    images: np.ndarray,
    size: int,
    name: str,
    journal: KeepsNothing,
) -> Iterator[torch.Tensor]:
    """Yield `work` of every `size` images as the journal has it; else it is done, and kept.

    What is to be done is divided among the processes of the fit.
    """
    chunks = [images[start : start + size] for start in range(0, len(images), size)]
    names = [f"{name}-{pixels_digest(chunk)}" for chunk in chunks]
    kept = [journal.tensor(one) for one in names]
    missing = (chunk for chunk, found in zip(chunks, kept, strict=True) if found is None)
    computed = in_turns(work, missing)
    for one, found in zip(names, kept, strict=True):
        if found is None:
            found = next(computed)
            journal.keep(one, {one: found})
        yield found
    # The others are told that this was all.
    next(computed, None)


def pixels_digest(images: np.ndarray) -> str:
    """Return 16 hex digits of the SHA-256 of images (N, S, S, 3) uint8."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()[:16]


def encoding(encoder: Encoder, device: str, precision: str = FLOAT32) -> Networks:
    """Return networks that encode and do nothing else."""
    return Networks(encoder, nn.Identity(), nn.Sequential(), None, precision).to(device)


def _embed_chunk(
    networks: Networks, images: np.ndarray, augment: AugmentConfig, device: str
) -> torch.Tensor:
    views = flipped_views(images, augment)
    return torch.stack([_embed_plain(networks, view, device) for view in views])


def _embed_plain(networks: Networks, images: np.ndarray, device: str) -> torch.Tensor:
    return embed_chunk(networks, images, device).siamese


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
    journal : KeepsNothing or None
        Keeps them.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: np.ndarray,
        device: str,
        progress: StageProgress,
        journal: KeepsNothing | None = None,
    ) -> None:
        self.encoder, self.images, self.device = encoder, images, device
        self.progress, self.journal = progress, journal or KeepsNothing()
        self._views: dict[tuple[bool, bool], torch.Tensor] = {}

    def taking(self, kept: np.ndarray, images: np.ndarray) -> "CachedFeatures":
        """Return those of a mask (N,) bool of the images, which are given too."""
        other = CachedFeatures(self.encoder, images, self.device, self.progress, self.journal)
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
                self._views[key] = embed_views(
                    self.encoder, self.images, augment, self.device, self.progress, self.journal
                )
        return self._views[key]
