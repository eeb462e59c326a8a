"""What is done with each batch of decoded images, in whichever process and on whichever machine."""

from typing import Any, Protocol

import numpy as np
import torch

from clusterkit.config import ImageConfig
from clusterkit.data.loading import ImageBatch

# A batch's number, and what was computed of its images: (B, …) arrays by name.
NumberedArrays = tuple[int, dict[str, np.ndarray]]


class BatchModel(Protocol):
    """A network and what follows it: decoded images in, arrays out.

    Attributes
    ----------
    image : ImageConfig
        How images are read for it.
    device : torch.device
    """

    @property
    def image(self) -> ImageConfig: ...

    @property
    def device(self) -> torch.device: ...

    def make_ready(self) -> None:
        """Do once what all batches need: processes that are forked after it share it."""

    def start(self, batch: ImageBatch) -> Any:
        """Begin with a batch; a GPU may still be at it on return."""

    def finish(self, batch: ImageBatch, started: Any) -> dict[str, np.ndarray]:
        """Return (B, …) arrays of numbers and (B,) of text of what `start` began."""


def arrays_of(model: BatchModel, batch: ImageBatch) -> dict[str, np.ndarray]:
    """Return what a model computes of a batch."""
    return model.finish(batch, model.start(batch))
