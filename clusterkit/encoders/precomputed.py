"""In the place of an encoder where features are given: nothing is encoded."""

import torch
from torch import nn

# What a run calls its encoder then.
FEATURES = "features"


class GivenFeatures(nn.Module):
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

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return features
