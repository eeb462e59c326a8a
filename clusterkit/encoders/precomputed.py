"""In the place of an encoder where features are given: nothing is encoded."""

import torch
from torch import nn

from clusterkit.encoders.encoder import Encoder


class GivenFeatures(Encoder):
    """Pooled features (B, D) of images pass through as they are.

    Attributes
    ----------
    dimension : int
        D; it may be odd, as nothing is known of maxima and means in it.
    """

    def __init__(self, dimension: int, chains: list[list[int]] | None = None) -> None:
        """Keep D, and the channels of each depth of each encoder; None: nothing is known of them.

        Where they are known, the features are maxima and then means of maps.
        """
        super().__init__()
        self.dimension, self._chains = dimension, chains or []
        self.depths = [channels for chain in self._chains for channels in chain]
        self.groups = [1] * len(self.depths)

    @property
    def chains(self) -> list[list[int]]:
        """Channels of each depth of each encoder; none: nothing is known."""
        return self._chains

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Raise: there are no maps."""
        raise NotImplementedError("features are given: there are no maps")

    def stages(self) -> list[list[nn.Module]]:
        """Return nothing: there are no layers."""
        return []

    def layer(self, number: int) -> None:
        """Return None: there are no layers."""
        return
