"""The trained parts of a run, and the one place where pixels become features."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from clusterkit.config import ImageConfig
from clusterkit.data.loading import Place, load_batches, workers_for
from clusterkit.errors import ConfigError
from clusterkit.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from clusterkit.models.heads import pool


@dataclass
class Networks:
    """Encoder(s) and heads, all on one device and in evaluation mode.

    Attributes
    ----------
    encoder : nn.Module
        (B, 3, S, S) → list of maps (B, C_d, h_d, w_d).
    classifier_head : nn.Module
        (B, 2C) → (B, K) logits.
    siamese_head : nn.Sequential
        (B, 4C) → (B, 1) logits.
    siamese_encoder : nn.Module or None
        None: the Siamese model shares `encoder`.
    """

    encoder: nn.Module
    classifier_head: nn.Module
    siamese_head: nn.Sequential
    siamese_encoder: nn.Module | None = None

    def parts(self) -> dict[str, nn.Module]:
        """Return the modules by the prefix of their tensors in `weights.safetensors`."""
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


@dataclass(frozen=True)
class Embeddings:
    """Pooled features of N images: the classifier's (N, D) and the Siamese model's (N, D)."""

    classifier: torch.Tensor
    siamese: torch.Tensor


def normalise(images: np.ndarray | torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Turn uint8 RGB (B, S, S, 3) into an encoder's input: float (B, 3, S, S), ImageNet's scale."""
    batch = torch.as_tensor(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)
    return ((batch - mean) / std).contiguous()


@torch.inference_mode()
def embed(networks: Networks, images: np.ndarray, device: torch.device | str) -> Embeddings:
    """Encode uint8 RGB images (B, S, S, 3) once, and pool; results are on the CPU."""
    batch = normalise(images, device)
    features = pool(networks.encoder(batch)).cpu()
    if networks.siamese_encoder is None:
        return Embeddings(features, features)
    return Embeddings(features, pool(networks.siamese_encoder(batch)).cpu())


def embed_all(
    networks: Networks, images: np.ndarray, device: torch.device | str, batch_size: int = 32
) -> Embeddings:
    """Encode uint8 RGB images (N, S, S, 3) in batches."""
    parts = [
        embed(networks, images[start : start + batch_size], device)
        for start in range(0, len(images), batch_size)
    ]
    return _join(parts)


def embed_paths(
    networks: Networks, places: list[Place], how: ImageConfig, device: torch.device | str
) -> Embeddings | None:
    """Read and encode images batch by batch; those that cannot be read are left out.

    Returns
    -------
    Embeddings of M' images; None: none can be read.
    """
    parts = []
    for batch in load_batches(places, how, 32, workers_for(places)):
        readable = batch.errors == ""
        if readable.any():
            parts.append(embed(networks, batch.images[readable], device))
    return _join(parts) if parts else None


def _join(parts: list[Embeddings]) -> Embeddings:
    return Embeddings(
        torch.cat([p.classifier for p in parts]), torch.cat([p.siamese for p in parts])
    )


def choose_device(name: str) -> torch.device:
    """Turn ``auto|cpu|cuda[:N]|mps`` into a device that is there.

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
