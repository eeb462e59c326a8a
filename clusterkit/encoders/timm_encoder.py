"""A network of timm as an encoder: maps of three depths, and its class token."""

from typing import Any

import torch
from torch import nn

from clusterkit.encoders.encoder import DEPTHS, Encoder, EncoderInput, check_maps
from clusterkit.errors import WeightsError


class TimmEncoder(Encoder):
    """A network of timm, giving the last maps of its deepest resolutions.

    A transformer has one resolution: its blocks are taken at equal distances, and their tokens
    laid out as the patches lie.

    Parameters
    ----------
    network : nn.Module
        Without a classifier. What no map needs is taken out of it.
    name : str
        For errors.
    size : int
        Pixels a side of the images to come.
    expects : EncoderInput

    Attributes
    ----------
    network : nn.Module
    indices : list of int
        Of the maps, as timm's `forward_intermediates` counts them.

    Raises
    ------
    WeightsError
        The network gives no maps of such images.
    """

    def __init__(self, network: nn.Module, name: str, size: int, expects: EncoderInput) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
            raise WeightsError(
                f"backbone '{name}' gives no maps of several depths; choose another, e.g. resnet34"
            )
        info = list(network.feature_info)
        self.network, self.expects, self.side = network, expects, size
        reductions = [row["reduction"] for row in info]
        self.patches = len(set(reductions)) == 1 and len(reductions) > 1
        self.indices = chosen_depths(reductions)
        self._ends = [str(info[index]["module"]) for index in self.indices]
        has_token = getattr(network, "cls_token", None) is not None
        self.tokens = 1 if has_token and getattr(network, "num_prefix_tokens", 0) else 0
        if hasattr(network, "prune_intermediate_layers"):
            network.prune_intermediate_layers(self.indices, prune_norm=False, prune_head=True)
        self.depths = [shape[1] for shape in check_maps(self, name, size)]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps of normalised images, the shallowest first; last the class token, if there is one."""
        how: dict[str, Any] = {
            "indices": self.indices, "output_fmt": "NCHW", "intermediates_only": True,
        }  # fmt: skip
        if not self.tokens:
            return list(self.network.forward_intermediates(images, **how))
        # A transformer's own head reads its tokens after this norm, never before.
        found = self.network.forward_intermediates(
            images, norm=True, return_prefix_tokens=True, **how
        )
        token = found[-1][1][:, 0]
        return [*(maps for maps, _ in found), token[:, :, None, None]]

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers up to the first map, from there to the second, and so on."""
        parts = [
            (name, module)
            for name, module in self.network.named_modules()
            if name and next(module.children(), None) is None
        ]
        found: list[list[nn.Module]] = [[] for _ in self._ends]
        stage = 0
        inside = False
        for name, module in parts:
            within = name == self._ends[stage] or name.startswith(self._ends[stage] + ".")
            if inside and not within and stage + 1 < len(self._ends):
                stage += 1
                within = name == self._ends[stage] or name.startswith(self._ends[stage] + ".")
            inside = within
            found[stage].append(module)
        return found


def chosen_depths(reductions: list[int]) -> list[int]:
    """Return which of a network's stages are read: of each of the deepest resolutions the last.

    Parameters
    ----------
    reductions : list of int
        By how much each stage has shrunk the picture.

    >>> chosen_depths([2, 4, 8, 16, 32])
    [2, 3, 4]
    >>> chosen_depths([16] * 12)
    [3, 7, 11]
    """
    last = {reduction: index for index, reduction in enumerate(reductions)}
    if len(last) >= DEPTHS:
        return sorted(last.values())[-DEPTHS:]
    steps = min(DEPTHS, len(reductions))
    return [round((step + 1) * len(reductions) / steps) - 1 for step in range(steps)]
