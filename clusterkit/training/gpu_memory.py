"""A GPU's memory that is too small for a training batch: one line in the place of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clusterkit.errors import ConfigError


@contextmanager
def memory_for(batch: int, side: int, device: torch.device) -> Iterator[None]:
    """Say what would help where the block runs out of a GPU's memory.

    A batch is not made smaller by itself: what is learned would be another thing.

    Parameters
    ----------
    batch : int
        Images of a training batch.
    side : int
        Their pixels a side.
    device : device

    Raises
    ------
    ConfigError
        It did.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            f"the memory of {device} has no room to train on batches of {batch} images of {side} "
            "pixels a side; set train.batch_size lower, give a smaller --size, end other programs "
            "that use it, or give --device cpu"
        ) from error
