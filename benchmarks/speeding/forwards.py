"""How quick is the encoder alone, on tensors in memory, however it is run?"""

import time
from collections.abc import Callable

import torch
from torch import nn

from clusterkit.encoders.registry import load_backbone
from clusterkit.models.forward import BFLOAT16, prepare, quick_precision
from clusterkit.models.heads import pool

_BATCH = 32


class _Pooled(nn.Module):
    """An encoder and the pooling of its maps, as one module."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return pool(self.encoder(images))


def bare_forwards(backbone: str, size: int, compiled: bool) -> dict[str, Callable[[], object]]:
    """Return what encodes one batch of 32, by name; each is warm when called a second time.

    `float32` and, where the processor has it, `bfloat16` (autocast) are what torch does with the
    module as it is, channels last; `compiled` is torch.compile of the latter. `clusterkit` is
    `models.forward.prepare` and takes bytes, not normalised floats.
    """
    encoder = load_backbone(backbone, "none", size).encoder.eval()
    model = _Pooled(encoder).to(memory_format=torch.channels_last)
    images = torch.randn(_BATCH, 3, size, size).to(memory_format=torch.channels_last)
    pixels = torch.randint(0, 256, (_BATCH, size, size, 3), dtype=torch.uint8)
    ours = prepare(encoder, quick_precision("cpu"), "cpu")
    quickened = torch.compile(model) if compiled else None

    def in_bfloat16(module: nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                return module(images)

        return run

    def in_float32() -> object:
        with torch.inference_mode():
            return model(images)

    found: dict[str, Callable[[], object]] = {"float32": in_float32}
    # A processor without the circuits imitates bfloat16: minutes for what takes a second.
    if quick_precision("cpu") == BFLOAT16:
        found["bfloat16"] = in_bfloat16(model)
        if quickened is not None:
            found["compiled"] = in_bfloat16(quickened)
    return found | {"clusterkit": lambda: ours(pixels)}


def rate(run: Callable[[], object], batches: int = 4) -> float:
    """Return images a second over some batches of 32."""
    started = time.perf_counter()
    for _ in range(batches):
        run()
    return batches * _BATCH / (time.perf_counter() - started)
