"""Forward of an encoder at inference: BatchNorm folded, channels last, bfloat16 where it is quick.

Measured on 2 cores with avx512_bf16 (resnet34, 224 pixels, batches of 32): float32 23 images a
second, bfloat16 under autocast 50, compiled bfloat16 53–56 after 15–30 s of compiling, and this
57 from the first batch on. So nothing is compiled: `python -m benchmarks.speed` measures it anew.
"""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from clusterkit.encoders.encoder import Encoder, EncoderInput
from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.models.folding import folded
from clusterkit.models.heads import pool
from clusterkit.models.on_device import WithinMemory, whole_float32
from clusterkit.models.twins import Twins, can_be_shared
from clusterkit.threads import in_parallel, threads_allowed

FLOAT32, BFLOAT16 = "float32", "bfloat16"

# Images that a thread encodes at once, in pixels: four of 224 a side. The wide maps of more do not
# stay in its cache, and each is new memory from the system: on 2 cores EfficientNet-Lite0 encodes
# 105 images a second by fours, 78 by eights and 48 by 32s, resnet34 19 in either way.
_AT_ONCE = 4
_PIXELS_AT_ONCE = _AT_ONCE * 224 * 224

_BATCH = 32

# From uint8 RGB (B, S, S, 3) to pooled features (B, D) float32, on the same device; where features
# are given, from these to themselves.
Forward = Callable[[torch.Tensor], torch.Tensor]


def quick_precision(device: torch.device | str) -> str:
    """Quickest precision of a device: ``bfloat16`` where it has the circuits, else ``float32``.

    Without them a processor imitates bfloat16, several times slower than float32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        # It asks the current one of several.
        with torch.cuda.device(device):
            quick = torch.cuda.is_bf16_supported(including_emulation=False)
        return BFLOAT16 if quick else FLOAT32
    if device.type == "cpu":
        return BFLOAT16 if _cpu_has("avx512_bf16") or _cpu_has("amx_tile") else FLOAT32
    return FLOAT32


def _cpu_has(feature: str) -> bool:
    # Private in torch, and not in every version that is allowed: then float32 is right.
    known = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return bool(known and known())


def batch_for_threads() -> int:
    """Return how many images to encode in one call, so that each thread has some: 32 or more."""
    return max(_BATCH, _AT_ONCE * threads_allowed())


def whole_batches(most: int) -> int:
    """Return how many of at most so many images are whole batches for the threads; one at least."""
    return most // batch_for_threads() * batch_for_threads() or batch_for_threads()


def normalise(
    images: np.ndarray | torch.Tensor,
    device: torch.device | str,
    expects: EncoderInput | None = None,
) -> torch.Tensor:
    """Turn uint8 RGB (B, S, S, 3) into an encoder's input: float (B, 3, S, S) on its scale.

    Input and output are channels last in memory. `expects` None: ImageNet's scale.
    """
    return _scaled(images, device, *_statistics(expects or EncoderInput(), device))


def _statistics(
    expects: EncoderInput, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, (1, 3, 1, 1) each; to copy them makes a GPU be waited for."""
    mean, std = (torch.tensor(values, device=device) for values in (expects.mean, expects.std))
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def _scaled(
    images: np.ndarray | torch.Tensor,
    device: torch.device | str,
    mean: torch.Tensor,
    std: torch.Tensor,
) -> torch.Tensor:
    batch = torch.as_tensor(images).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    return batch.div_(255).sub_(mean).div_(std)


def prepare(encoder: Encoder, precision: str, device: torch.device | str) -> Forward:
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
        return lambda features: features
    expects, side = encoder.expects, encoder.side
    dtype = torch.bfloat16 if precision == BFLOAT16 else torch.float32
    quick = folded(encoder, side).to(device=device, dtype=dtype)
    quick = quick.to(memory_format=torch.channels_last)

    shared, statistics = can_be_shared(quick), _statistics(expects, device)
    network = Twins(quick) if shared else quick

    # In each thread anew: that no gradients are wanted is known to one alone.
    @torch.inference_mode()
    def encode(images: torch.Tensor) -> torch.Tensor:
        return pool(network(_scaled(images, device, *statistics).to(dtype)))

    if torch.device(device).type != "cpu":
        return _beside_the_processor(encode, device, dtype)

    @torch.inference_mode()
    def forward(images: torch.Tensor) -> torch.Tensor:
        at_once = max(1, _PIXELS_AT_ONCE // max(1, images.shape[1] * images.shape[2]))
        parts = images.split(at_once)
        return torch.cat(in_parallel(encode, parts) if shared else [encode(p) for p in parts])

    return forward


def _beside_the_processor(
    encode: Forward, device: torch.device | str, dtype: torch.dtype
) -> Forward:
    within = WithinMemory(encode, device)

    @torch.inference_mode()
    def forward(images: torch.Tensor) -> torch.Tensor:
        with whole_float32() if dtype == torch.float32 else nullcontext():
            return within(images)

    return forward
