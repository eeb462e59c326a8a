"""Convolutions with TensorFlow's "same" padding, without a padded copy of every map."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def pad_inside(network: nn.Module) -> None:
    """Put the padding of timm's `Conv2dSame` of stride 2 into the convolution, in place.

    Maps of an even side are padded on one side more than on the other, which torch's convolutions
    cannot do: timm copies every map into a larger one first, which is a sixth of the forward of
    EfficientNet-Lite0. A kernel with a further row and column of zeros needs no such copy, and
    gives the same sums. Maps of an odd side still go the old way.
    """
    for name, conv in list(network.named_modules()):
        if type(conv).__name__ == "Conv2dSame" and _is_simple(conv):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, _EvenSame(conv))


def _is_simple(conv: Any) -> bool:
    high, wide = conv.kernel_size
    return (high == wide and high % 2 == 1 and high > 1
            and tuple(conv.stride) == (2, 2) and tuple(conv.dilation) == (1, 1))  # fmt: skip


class _EvenSame(nn.Module):
    """A `Conv2dSame` (k × k, stride 2) that pads even maps by its kernel."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.conv = conv
        # (side / 2 - 1) · 2 + k - side = k - 2 rows are missing: half of them, rounded up, below.
        missing = conv.kernel_size[0] - 2
        self.padding = missing - missing // 2
        more = self.padding - missing // 2
        self.weight = nn.Parameter(functional.pad(conv.weight.detach(), (more, 0, more, 0)))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if maps.shape[2] % 2 or maps.shape[3] % 2:
            return self.conv(maps)
        return functional.conv2d(maps, self.weight, self.conv.bias, 2, self.padding, 1,
                                 self.conv.groups)  # fmt: skip
