"""Networks of a run, and embedding: pixels to pooled features."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from clusterkit.config import ImageConfig
from clusterkit.data.loading import ImageRef, load_batches, workers_for
from clusterkit.encoders.encoder import Encoder
from clusterkit.errors import ConfigError
from clusterkit.models.forward import FLOAT32, Forward, batch_for_threads, prepare
from clusterkit.progress import StageProgress


@dataclass
class Networks:
    """Encoder(s) and heads, all on one device and in evaluation mode.

    Attributes
    ----------
    encoder : Encoder
        (B, 3, S, S) → list of maps (B, C_d, h_d, w_d).
    classifier_head : nn.Module
        (B, 2C) → (B, K) logits.
    siamese_head : nn.Sequential
        (B, 4C) → (B, 1) logits.
    siamese_encoder : Encoder or None
        None: the Siamese model shares `encoder`.
    precision : {"float32", "bfloat16"}
        Of the encoders for new images (`models.forward`). Weights, heads and the features of
        labelled images are float32.
    """

    encoder: Encoder
    classifier_head: nn.Module
    siamese_head: nn.Sequential
    siamese_encoder: Encoder | None = None
    precision: str = FLOAT32
    _prepared: dict[tuple[int, str, str], Forward] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __getstate__(self) -> dict[str, Any]:
        # Prepared forwards cannot be sent to another process, and are known by this one's ids.
        return self.__dict__ | {"_prepared": {}}

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the prefix of their tensors in `weights.safetensors`."""
        parts = {
            "encoder": self.encoder,
            "classifier_head": self.classifier_head,
            "siamese_head": self.siamese_head,
        }
        if self.siamese_encoder is not None:
            parts["siamese_encoder"] = self.siamese_encoder
        return parts

    def to(self, device: torch.device | str) -> "Networks":
        """Move every part to a device and to evaluation mode."""
        for part in self.parts().values():
            part.to(device).eval()
        return self

    def make_ready(self, device: torch.device | str) -> None:
        """Prepare the encoders for a device before the first images come."""
        for encoder in (self.encoder, self.siamese_encoder):
            if encoder is not None:
                self.forward_of(encoder, device)

    def forward_of(
        self, encoder: Encoder, device: torch.device | str, precision: str | None = None
    ) -> Forward:
        """Prepared forward of one of the encoders, whose training is over.

        Parameters
        ----------
        encoder : Encoder
            `encoder` or `siamese_encoder`.
        device : device
        precision : {"float32", "bfloat16"} or None
            None: the networks' own.
        """
        precision = precision or self.precision
        key = (id(encoder), precision, str(device))
        if key not in self._prepared:
            self._prepared[key] = prepare(encoder, precision, device)
        return self._prepared[key]


@dataclass(frozen=True)
class Embeddings:
    """Pooled features of N images.

    Attributes
    ----------
    classifier, siamese : Tensor (N, D) float32
        Of the classifier's and of the Siamese model's encoder; the very same tensor where these
        share one.
    """

    classifier: torch.Tensor
    siamese: torch.Tensor

    def cpu(self) -> "Embeddings":
        """Return them on the CPU, once they are computed."""
        classifier = self.classifier.cpu()
        shared = self.siamese is self.classifier
        return Embeddings(classifier, classifier if shared else self.siamese.cpu())


def embed(
    networks: Networks,
    images: np.ndarray,
    device: torch.device | str,
    precision: str | None = None,
) -> Embeddings:
    """Encode uint8 RGB images (B, S, S, 3) once, and pool; results are on the CPU.

    `precision` None: the networks' own, which is that for new images.
    """
    batch = torch.as_tensor(images).to(device)
    return start_embedding(networks, batch, device, precision).cpu()


def start_embedding(
    networks: Networks,
    images: torch.Tensor,
    device: torch.device | str,
    precision: str | None = None,
) -> Embeddings:
    """Encode images (B, S, S, 3) uint8 on the device; a GPU may still be at it on return."""
    features = networks.forward_of(networks.encoder, device, precision)(images)
    if networks.siamese_encoder is None:
        return Embeddings(features, features)
    own = networks.forward_of(networks.siamese_encoder, device, precision)(images)
    return Embeddings(features, own)


def embed_all(
    networks: Networks,
    images: np.ndarray,
    device: torch.device | str,
    batch_size: int | None = None,
    progress: StageProgress | None = None,
    precision: str | None = None,
) -> Embeddings:
    """Encode uint8 RGB images (N, S, S, 3) in batches; `progress` gets (done, total)."""
    parts, batch_size = [], batch_size or batch_for_threads()
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        parts.append(embed(networks, np.ascontiguousarray(part), device, precision))
        if progress:
            progress(start + len(part), len(images))
    return _join(parts)


def embed_paths(
    networks: Networks,
    refs: list[ImageRef],
    how: ImageConfig,
    device: torch.device | str,
    progress: StageProgress | None = None,
    known: Mapping[int, Embeddings | None] | None = None,
    keep: Callable[[int, Embeddings | None], None] | None = None,
) -> Embeddings | None:
    """Read and encode images batch by batch; those that cannot be read are left out.

    Parameters
    ----------
    networks : Networks
    refs : list of ImageRef
    how : ImageConfig
    device : device
    progress : callable or None
        Called with (done, total) in images.
    known : dict or None
        What was found before of batches of `batch_for_threads` images, by their numbers.
    keep : callable or None
        Called with (number, what was found) of each other batch; None: none of it can be read.

    Returns
    -------
    Embeddings or None
        Of the images that can be read, in order; None: none can be read.
    """
    parts, size = dict(known or {}), batch_for_threads()
    done = sum(len(refs[number * size : (number + 1) * size]) for number in parts)
    if progress and done:
        progress(done, len(refs))
    if done == len(refs):
        return _join_readable(parts)
    for batch in load_batches(refs, how, size, workers_for(refs), set(parts)):
        readable, found = batch.errors == "", None
        if readable.any():
            found = embed(networks, batch.images[readable], device)
        parts[batch.number] = found
        if keep:
            keep(batch.number, found)
        done += len(batch.ids)
        if progress:
            progress(done, len(refs))
    return _join_readable(parts)


def _join_readable(parts: dict[int, Embeddings | None]) -> Embeddings | None:
    found = [part for _, part in sorted(parts.items()) if part is not None]
    return _join(found) if found else None


def _join(parts: list[Embeddings]) -> Embeddings:
    return Embeddings(
        torch.cat([p.classifier for p in parts]), torch.cat([p.siamese for p in parts])
    )


def choose_device(name: str) -> torch.device:
    """Device of a name ``auto|cpu|cuda[:N]|mps``, checked to be usable.

    Raises
    ------
    ConfigError
        The name is not one of those, or the machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:
        raise ConfigError(
            f"device '{name}' cannot be used here; give auto, cpu, cuda, cuda:N or mps"
        ) from error
    return device


def processor_of(device: torch.device) -> str:
    """Return the kind of processor that a device is: others round sums otherwise."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
    return f"{platform.machine()} {capability}"
