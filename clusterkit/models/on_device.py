"""Encoding on a device beside the processor: in whole float32, and in the memory that is there."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clusterkit.errors import ConfigError

log = logging.getLogger("clusterkit")


@contextmanager
def whole_float32() -> Iterator[None]:
    """Let cuDNN's convolutions multiply float32 with all of its bits, as a processor does.

    From Ampere on it leaves 13 of the 23 out by itself (TF32): what is compared with a CPU's
    features, or with another GPU's, would be off by a thousandth.
    """
    # Older versions of torch have one switch for everything.
    cudnn: Any = torch.backends.cudnn
    new = hasattr(cudnn, "conv")
    switch, name = (cudnn.conv, "fp32_precision") if new else (cudnn, "allow_tf32")
    before = getattr(switch, name)
    setattr(switch, name, "ieee" if new else False)
    try:
        yield
    finally:
        setattr(switch, name, before)


class WithinMemory:
    """Encodes a batch in parts where the device's memory does not hold it at once.

    Parameters
    ----------
    encode : callable
        From images (B, ...) to features (B, D).
    device : device
    """

    def __init__(
        self, encode: Callable[[torch.Tensor], torch.Tensor], device: torch.device | str
    ) -> None:
        self.encode, self.device = encode, device
        self.at_once: int | None = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (B, D).

        Raises
        ------
        ConfigError
            There is no room for a single image.
        """
        while True:
            try:
                parts = images.split(self.at_once or max(1, len(images)))
                return torch.cat([self.encode(part) for part in parts])
            except torch.cuda.OutOfMemoryError:
                tried = min(self.at_once or len(images), len(images))
            # Not in the handler: until it ends, the error holds what was computed so far.
            self._take_less(tried, images)

    def _take_less(self, tried: int, images: torch.Tensor) -> None:
        torch.cuda.empty_cache()
        if tried < 2:
            side = images.shape[1]
            raise ConfigError(
                f"the memory of {self.device} has no room to encode one image of {side} pixels a "
                "side; end other programs that use it, or give --device cpu"
            )
        self.at_once = tried // 2
        log.info("the memory of %s is too small for %d images at once: %d from now on",
                 self.device, tried, self.at_once)  # fmt: skip
