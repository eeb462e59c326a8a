"""Forward of an encoder at inference: BatchNorm folded, channels last, bfloat16 where it is quick.

Measured on 2 cores with avx512_bf16 (resnet34, 224 pixels, batches of 32): float32 23 images a
second, bfloat16 under autocast 50, compiled bfloat16 53–56 after 15–30 s of compiling, and this
57 from the first batch on. So nothing is compiled: `python -m benchmarks.speed` measures it anew.
"""

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.encoders.torchvision import IMAGENET_MEAN, IMAGENET_STD
from clusterkit.models.heads import pool

log = logging.getLogger("clusterkit")

FLOAT32, BFLOAT16 = "float32", "bfloat16"

# From uint8 RGB (B, S, S, 3) to pooled features (B, D) float32, on the same device; where features
# are given, from these to themselves.
Forward = Callable[[torch.Tensor], torch.Tensor]


def quick_precision(device: torch.device | str) -> str:
    """Quickest precision of a device: ``bfloat16`` where it has the circuits, else ``float32``.

    Without them a processor imitates bfloat16, several times slower than float32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return BFLOAT16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
    if device.type == "cpu":
        return BFLOAT16 if _cpu_has("avx512_bf16") or _cpu_has("amx_tile") else FLOAT32
    return FLOAT32


def _cpu_has(feature: str) -> bool:
    # Private in torch, and not in every version that is allowed: then float32 is right.
    known = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return bool(known and known())


def normalise(images: np.ndarray | torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Turn uint8 RGB (B, S, S, 3) into an encoder's input: float (B, 3, S, S), ImageNet's scale.

    Input and output are channels last in memory.
    """
    batch = torch.as_tensor(images).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)
    return batch.div_(255).sub_(mean).div_(std)


def prepare(encoder: nn.Module, precision: str, device: torch.device | str) -> Forward:
    """Forward and pooling of an encoder for inference; the encoder stays as it is.

    Parameters
    ----------
    encoder : Encoder
    precision : {"float32", "bfloat16"}
        Of weights and maps; sums and pooled features are float32 in either.
    device : device

    Returns
    -------
    callable
        From uint8 RGB (B, S, S, 3) to pooled features (B, D) float32, on the same device.
    """
    if isinstance(encoder, GivenFeatures):
        return encoder
    dtype = torch.bfloat16 if precision == BFLOAT16 else torch.float32
    quick = _folded(encoder).to(device=device, dtype=dtype)
    quick = quick.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(images: torch.Tensor) -> torch.Tensor:
        return pool(quick(normalise(images, device).to(dtype)))

    return forward


def _folded(encoder: nn.Module) -> nn.Module:
    """Copy of an encoder in which each BatchNorm is part of the convolution before it."""
    from torch.fx.experimental.optimization import fuse

    training = encoder.training
    try:
        return fuse(encoder.eval()).eval()
    except Exception as error:
        # A network that fx cannot trace is only slower.
        log.debug("BatchNorm is not folded: %s", error)
        from copy import deepcopy

        return deepcopy(encoder).eval()
    finally:
        encoder.train(training)
