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
    depths : list of int
        Channels of each depth, where the features are maxima and then means of maps of several;
        empty: nothing is known of that.
    """

    def __init__(self, dimension: int, depths: list[int] | None = None) -> None:
        super().__init__()
        self.dimension, self.depths = dimension, list(depths or [])
        self.groups = [1] * len(self.depths)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Raise: there are no maps."""
        raise NotImplementedError("features are given: there are no maps")

    def stages(self) -> list[list[nn.Module]]:
        """Return nothing: there are no layers."""
        return []

    def layer(self, number: int) -> None:
        """Return None: there are no layers."""
        return
