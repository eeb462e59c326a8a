"""A network of timm as an encoder: maps of three depths, and its class token."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from clusterkit.encoders.encoder import DEPTHS, Encoder, EncoderInput, check_maps
from clusterkit.errors import WeightsError

# Pixels a side of the images that a network's layers are looked at with.
_LARGEST_SIDE = 1024


class TimmEncoder(Encoder):
    """A network of timm, giving maps of its three deepest resolutions.

    Of most networks that is the last map of each resolution. A transformer has one resolution: its
    blocks are taken at equal distances, and their tokens laid out as the patches lie. Networks of
    inverted residuals (MobileNet, EfficientNet) hand on narrow maps between their blocks and see
    most inside them: there the wide maps are taken, just before they are made narrow, of the first
    and the last block of every stage. A stage of one block only prepares the classes that the
    network was trained for.

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
        Of the maps, as timm's `forward_intermediates` counts them; empty where blocks are read.

    Raises
    ------
    WeightsError
        The network gives no maps of such images.
    """

    network: nn.Module

    def __init__(self, network: nn.Module, name: str, size: int, expects: EncoderInput) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
            raise WeightsError(
                f"backbone '{name}' gives no maps of several depths; choose another, e.g. resnet34"
            )
        self.network, self.expects = network, expects
        stages: Any = network.feature_info
        reductions = [row["reduction"] for row in stages]
        self.indices = chosen_depths(reductions)
        self.patches = len(set(reductions)) == 1 and len(reductions) > 1
        config: Any = getattr(network, "pretrained_cfg", None) or {}
        # More pixels show more of how its layers lie, where it takes more.
        fixed = config.get("fixed_input_size") or getattr(network, "pos_embed", None) is not None
        # And more than these show no more, and take gigabytes.
        size = size if fixed else min(size, _LARGEST_SIDE)
        self.side = size if config.get("fixed_input_size") else max(size, Encoder.side)
        has_token = getattr(network, "cls_token", None) is not None
        self.tokens = int(has_token and getattr(network, "num_prefix_tokens", 0) > 0)
        prune: Any = getattr(network, "prune_intermediate_layers", None)
        if prune is not None:
            prune(self.indices, prune_norm=False, prune_head=True)
        self._tapped = self._tap_blocks(name, size)
        if self._tapped:
            self.indices = []
            return
        self._ends = [str(stages[index]["module"]) for index in self.indices]
        self.depths = [shape[1] for shape in check_maps(self, name, size)]
        places = len(self.depths) - self.tokens
        self.groups = [1] * (places - 1) + [1 + self.tokens]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps of normalised images, the shallowest first; last a class token if there is one."""
        network: Any = self.network
        if self._tapped:
            network.forward_features(images)
            return [self._tap(name).take() for name in self._tapped]
        how: dict[str, Any] = {
            "indices": self.indices, "output_fmt": "NCHW", "intermediates_only": True,
        }  # fmt: skip
        if not self.tokens:
            return list(network.forward_intermediates(images, **how))
        # A transformer's own head reads its tokens after this norm, never before.
        found = network.forward_intermediates(images, norm=True, return_prefix_tokens=True, **how)
        token = found[-1][1][:, 0]
        return [*(maps for maps, _ in found), token[:, :, None, None]]

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers up to the first depth, from there to the second, and so on.

        What a network holds beside its layers (position embeddings, tokens, scales of its blocks)
        is a `ParameterList` in the stage where it is used.
        """
        found: list[list[nn.Module]] = [[] for _ in self._ends]
        stage, inside = 0, False
        for name, module in self.network.named_modules():
            own, children = list(module.parameters(recurse=False)), list(module.children())
            if children and not own:
                continue
            within = f"{name}.".startswith(f"{self._ends[stage]}.")
            if inside and not within and stage + 1 < len(self._ends):
                stage += 1
                within = f"{name}.".startswith(f"{self._ends[stage]}.")
            inside = within
            # timm's BatchNorm has its activation as a child, and is a layer nevertheless.
            deeper = any(True for child in children for _ in child.parameters())
            found[stage].append(nn.ParameterList(own) if deeper else module)
        return found

    def layer(self, number: int) -> nn.Module | None:
        """Return the layer whose output is a map (number -1: the deepest); None: there is none."""
        if self._tapped:
            return self._tap(self._tapped[number])
        return None if self.patches else self.network.get_submodule(self._ends[number])

    def _tap(self, block: str) -> "_Tap":
        found = self.network.get_submodule(f"{block}.se.1")
        assert isinstance(found, _Tap)
        return found

    def _tap_blocks(self, name: str, size: int) -> list[str]:
        """Read the blocks of the deepest resolutions inside, and return their names."""
        blocks = dict(_inverted_residuals(self.network))
        for block in blocks.values():
            block.se = nn.Sequential(block.se, _Tap())
        if not blocks:
            return []
        self._tapped = list(blocks)
        shapes = dict(zip(blocks, check_maps(self, name, size), strict=True))
        sides = sorted({shape[2] for shape in shapes.values()})[:DEPTHS]
        for block_name in [b for b, shape in shapes.items() if shape[2] not in sides]:
            del shapes[block_name]
            blocks[block_name].se = blocks[block_name].se[0]
        self._drop_stages_after(list(shapes)[-1])
        self.depths = [shape[1] for shape in shapes.values()]
        found = [shape[2] for shape in shapes.values()]
        self.groups = [found.count(side) for side in reversed(sides)]
        self._ends = [list(shapes)[end - 1] for end in accumulate(self.groups)]
        return list(shapes)

    def _drop_stages_after(self, block: str) -> None:
        """Take out the stages that no map needs."""
        holder, _, place = block.rpartition(".")[0].rpartition(".")
        stages = self.network.get_submodule(holder)
        if isinstance(stages, nn.Sequential) and place.isdigit():
            del stages[int(place) + 1 :]


class _Tap(nn.Module):
    """Hands a map on, and keeps it until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: torch.Tensor | None = None

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        self._seen = maps
        return maps

    def take(self) -> torch.Tensor:
        seen, self._seen = self._seen, None
        assert seen is not None
        return seen


def _inverted_residuals(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, block), first and last of each stage, of blocks that widen and narrow again."""
    stages: dict[str, list[tuple[str, nn.Module]]] = {}
    for name, module in network.named_modules():
        if all(hasattr(module, part) for part in ("conv_pw", "conv_dw", "se", "conv_pwl")):
            stages.setdefault(name.rpartition(".")[0], []).append((name, module))
    for blocks in stages.values():
        if len(blocks) > 1:
            yield from (blocks[0], blocks[-1])


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
