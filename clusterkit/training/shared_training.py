"""Fine-tuning by several processes, each with its part of every batch: the steps are those of one.

As fastai's `DistributedTrainer` does, the model is wrapped in PyTorch's DistributedDataParallel,
which averages gradients while they are computed. Unlike there a batch is as large as it is for one
process, BatchNorm and head see all of it, and so rate and schedule stay what they are.
"""

from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from clusterkit.data.cache import room_for_images
from clusterkit.errors import ConfigError
from clusterkit.formats.fit_journal import KeepsNothing, Piece
from clusterkit.training.fastai_names import Callback, set_seed
from clusterkit.training.process_group import ProcessGroup, current_group
from clusterkit.training.shards import CHUNK

# Far from each other, so that no process draws in an epoch what another draws in the next one.
_SEEDS_APART = 1_000_003


class TrainTogether(Callback):
    """Lets gradients be averaged over all processes; of one process nothing changes.

    The model of the learner is the plain one, but for the moment in which it is called.

    Parameters
    ----------
    seed : int
        From which the others draw their augmentation, anew in each epoch: what was interrupted
        goes on with the same numbers.
    """

    # After whatever fills the model or lays it out in memory.
    order = 95

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.wrapped: DistributedDataParallel | None = None

    def before_fit(self) -> None:
        """Wrap the model, which is rank 0's afterwards."""
        self.plain = self.learn.model
        if current_group().size > 1:
            # An encoder may have weights that its maps do not depend on: always the same ones.
            self.wrapped = DistributedDataParallel(self.plain, static_graph=True)

    def before_epoch(self) -> None:
        """Draw other augmentations than rank 0, which draws as it would alone."""
        rank = current_group().rank
        if rank:
            set_seed(self.seed + rank * _SEEDS_APART + self.epoch, reproducible=True)

    def before_batch(self) -> None:
        """Call the wrapped model."""
        if self.wrapped is not None and self.training:
            self.learn.model = self.wrapped

    def after_pred(self) -> None:
        """Give the plain model back."""
        self.learn.model = self.plain


class SentEpoch(KeepsNothing):
    """A journal that has what rank 0's has of the last epoch, and keeps nothing.

    Parameters
    ----------
    piece : Piece or None
    """

    def __init__(self, piece: Piece | None) -> None:
        self._piece = piece

    def load(self, name: str) -> Piece | None:
        """Return it."""
        return self._piece


def check_batch_size(size: int) -> None:
    """Find out whether each process gets an image of every batch.

    Raises
    ------
    ConfigError
        There are more processes than images.
    """
    processes = current_group().size
    if size < processes:
        raise ConfigError(f"batches of {size} images cannot be divided among {processes} "
                          f"processes; start at most {size}, or raise train.batch_size where there "
                          "are images enough")  # fmt: skip


def share_images(images: np.ndarray, memory_mb: int) -> None:
    """Send images (N, S, S, 3) uint8 to the others, which keep them until they get others.

    Parameters
    ----------
    images : (N, S, S, 3) uint8
    memory_mb : int
        See `room_for_images`.
    """
    group = current_group()
    if group.images is images or group.size == 1:
        return
    group.tell(_receive_images, len(images), images.shape[1], memory_mb)
    for start in range(0, len(images), CHUNK):
        group.broadcast(np.ascontiguousarray(images[start : start + CHUNK]))
    group.images = images


def _receive_images(group: ProcessGroup, count: int, size: int, memory_mb: int) -> None:
    # What was sent before is let go first.
    group.images = None
    images = room_for_images(count, size, memory_mb)
    for start in range(0, count, CHUNK):
        images[start : start + CHUNK] = group.broadcast(images[:0])
    group.images = images


def measured_by_leader(features: torch.Tensor) -> Any:
    """Stand for the metrics of a process that does not lead: it is told the outcome."""
    raise AssertionError("only rank 0 measures")
