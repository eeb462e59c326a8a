"""A network that several threads may use at once."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import chain
from queue import Empty, SimpleQueue

import torch
from torch import nn

# Whose layers keep nothing outside of themselves from one call to the next.
_KNOWN = ("torch", "torchvision", "timm", "clusterkit")


class Twins:
    """Calls of a network, each by a copy of its layers that no other call is using.

    What layers keep between two of their calls is then each thread's own. The copies share the
    network's tensors: they take next to no memory.

    Parameters
    ----------
    network : nn.Module
        `can_be_shared`, and in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._free: SimpleQueue[nn.Module] = SimpleQueue()

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        try:
            twin = self._free.get_nowait()
        except Empty:
            twin = self._twin()
        try:
            return twin(images)
        finally:
            self._free.put(twin)

    def _twin(self) -> nn.Module:
        tensors: Iterable[torch.Tensor] = chain(self.network.parameters(), self.network.buffers())
        return deepcopy(self.network, {id(tensor): tensor for tensor in tensors})


def can_be_shared(network: nn.Module) -> bool:
    """Whether a copy of a network's layers is sure to keep nothing in common but its tensors.

    Hooks, and layers of others' packages, may keep what they see in a place that copies share.
    """
    return all(
        type(layer).__module__.partition(".")[0] in _KNOWN
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        for layer in network.modules()
    )
