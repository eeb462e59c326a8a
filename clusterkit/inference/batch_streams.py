"""The streams of a GPU: a batch is copied, the next is encoded, and the one before is finished.

What one stream is given is done in order, and whoever reads a result waits for all that the stream
was given before. With one stream alone, the results of a batch would come after the next batch's,
and meanwhile the GPU would have nothing to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from clusterkit.models.networks import Embeddings


@dataclass(frozen=True)
class Started:
    """Features of a batch that a device may still be computing.

    Attributes
    ----------
    embeddings : Embeddings
        On the device.
    done : torch.cuda.Event or None
        Comes when they are computed; None: they are.
    """

    embeddings: Embeddings
    done: torch.cuda.Event | None = None


class BatchStreams:
    """Copies, encodes and finishes side by side on a GPU; elsewhere one after the other.

    Parameters
    ----------
    device : device
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._on_gpu = device, device.type == "cuda"
        if self._on_gpu:
            self._copying = torch.cuda.Stream(device)
            # Its few products go before the many of the batch that was begun since.
            self._finishing = torch.cuda.Stream(device, priority=-1)

    def send(self, images: np.ndarray) -> torch.Tensor:
        """Return images (B, S, S, 3) uint8, or features (B, D), on the device."""
        batch = torch.from_numpy(images)
        if not self._on_gpu:
            return batch.to(self.device)
        with torch.cuda.stream(self._copying):
            sent = batch.pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copying)
        # The memory must not be given to another batch while this one is read from it.
        sent.record_stream(computing)
        return sent

    def started(self, embeddings: Embeddings) -> Started:
        """Take note of when features come that the device was told to compute just now."""
        if not self._on_gpu:
            return Started(embeddings)
        return Started(embeddings, torch.cuda.current_stream(self.device).record_event())

    @contextmanager
    def finishing(self, started: Started) -> Iterator[None]:
        """Wait, in what is computed inside, for these features and for no batch begun since."""
        if started.done is None:
            yield
            return
        self._finishing.wait_event(started.done)
        with torch.cuda.stream(self._finishing):
            yield
