"""An encoder of your own: any module that turns an RGB picture into feature maps.

Put it into a package of yours and declare it in that package's pyproject.toml::

    [project.entry-points."clusterkit.encoders"]
    edges = "your_package.own_encoder:edges"

Then `clusterkit fit labels.csv --backbone edges` learns on its maps. A run keeps the weights; to
use the run, the package has to be installed. Run this file to see the shapes of the maps.
"""

from typing import Any

import torch
from torch import nn


class Edges(nn.Module):
    """Strength of edges in eight directions, at two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(8) * torch.pi / 8
        ramp = torch.arange(5.0) - 2
        across = angles.cos()[:, None, None] * ramp + angles.sin()[:, None, None] * ramp[:, None]
        kernels = across * torch.exp(-(ramp**2 + ramp[:, None] ** 2) / 2)
        self.filters = nn.Conv2d(3, 8, 5, padding=2, bias=False)
        with torch.no_grad():
            self.filters.weight.copy_(kernels[:, None].expand(8, 3, 5, 5) / 3)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) normalised → maps (B, 8, H/2, W/2) and (B, 8, H/4, W/4)."""
        fine = nn.functional.max_pool2d(self.filters(images).abs(), 2)
        return [fine, nn.functional.avg_pool2d(fine, 2)]


def edges() -> tuple[nn.Module, dict[str, Any]]:
    """Return the module, and what it expects: mean, std, size; also interpolation, crop_pct."""
    return Edges(), {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": 96}


if __name__ == "__main__":
    module, expects = edges()
    print(expects, [tuple(m.shape) for m in module(torch.zeros(1, 3, 96, 96))])
