"""BatchNorm folded into the convolution before it, for any network that can be run.

Which layers belong together is seen in one forward pass and not read out of the code: networks
whose padding depends on the size of the image cannot be traced.
"""

import logging
from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clusterkit.models.same_padding import pad_inside
from clusterkit.threads import one_thread

log = logging.getLogger("clusterkit")

# Pixels a side of the picture that is sent through, unless the network is made for another size.
_SIDE = 64
# Relative to the largest value of a map: what folding may change by rounding.
_TOLERANCE = 1e-3


def folded(encoder: nn.Module, side: int = _SIDE) -> nn.Module:
    """Return a copy of an encoder in which each BatchNorm is part of the convolution before it.

    The copy is on the CPU, in evaluation mode, and gives the same maps to rounding, which is
    checked: where it would not, the copy is not folded, and only slower.

    Parameters
    ----------
    encoder : nn.Module
        (B, 3, H, W) → maps. It stays as it is.
    side : int
        Pixels a side of the picture that is sent through to see what follows what.
    """
    # A GPU may leave bits out of its products: then nothing would look the same.
    plain = deepcopy(encoder).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 3, side, side, generator=generator)
    with torch.no_grad(), one_thread():
        before, pairs = _run(plain, picture)
        result = deepcopy(plain)
        for conv, norm in pairs:
            _fold(result, conv, norm)
        pad_inside(result)
        after = [maps.clone() for maps in result(picture)]
    for first, second in zip(before, after, strict=True):
        if not torch.allclose(first, second, rtol=0, atol=_TOLERANCE * float(first.abs().max())):
            log.debug("BatchNorm is not folded: the maps would differ")
            return plain
    return result


def _run(
    network: nn.Module, picture: torch.Tensor
) -> tuple[list[torch.Tensor], list[tuple[str, str]]]:
    """Return a picture's maps, and (convolution, BatchNorm) where one feeds the other, by name."""
    made: dict[int, tuple[str, torch.Tensor]] = {}
    pairs: list[tuple[str, str]] = []
    calls: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> None:
        def after(_: nn.Module, given: tuple, result: torch.Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                # Held, so that no later tensor gets the same number.
                made[id(result)] = (name, result)
            elif id(given[0]) in made:
                pairs.append((made[id(given[0])][0], name))

        hooks.append(module.register_forward_hook(after))

    hooks: list = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            watch(name, module)
    try:
        maps = [m.clone() for m in network(picture)]
    finally:
        for hook in hooks:
            hook.remove()
    once = [pair for pair in pairs if all(calls[name] == 1 for name in pair)]
    return maps, once


def _fold(network: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    if norm.running_mean is None or norm.running_var is None:
        return
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    parent, _, own = norm_name.rpartition(".")
    # timm's BatchNorm brings its activation with it.
    rest = [part for part in (getattr(norm, "act", None),) if isinstance(part, nn.Module)]
    setattr(network.get_submodule(parent), own, rest[0] if rest else nn.Identity())
