"""Class activation maps: which places of an image the evidence for a label comes from.

All maps need one forward pass: the gradient of a logit with respect to the *pooled* features
is known in closed form (the Siamese head) or from the head alone (the classifier), so no hook
is set and the model is never changed.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from clusterkit.models.backbones import empty_encoder
from clusterkit.models.heads import pool
from clusterkit.models.networks import normalise
from clusterkit.models.siamese import FactoredSiamese


@torch.no_grad()
def encode_maps(
    encoder: nn.Module, images: np.ndarray, device: torch.device | str
) -> list[torch.Tensor]:
    """Encode uint8 RGB (B, S, S, 3) to maps (B, C_d, h_d, w_d) of each depth, on the CPU."""
    return [maps.float().cpu() for maps in encoder(normalise(images, device))]


def class_gradients(head: nn.Module, features: torch.Tensor, classes: np.ndarray) -> torch.Tensor:
    """Return the gradient (B, 2C) of each image's logit of one class in its pooled features.

    Parameters
    ----------
    head : (B, 2C) → (B, K), in evaluation mode
    features : (B, 2C)
    classes : (B,) int
    """
    with torch.enable_grad():
        features = features.detach().clone().requires_grad_()
        logits = head(features)[torch.arange(len(features)), torch.as_tensor(classes)]
        return torch.autograd.grad(logits.sum(), features)[0]


def pair_gradients(
    siamese: FactoredSiamese, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the symmetric logit of B pairs in both images' pooled features.

    The logit is piecewise linear: where a hidden unit is on, its weights pass through.

    Parameters
    ----------
    first, second : (B, D)

    Returns
    -------
    Two tensors (B, D).
    """
    (u1, v1), (u2, v2) = siamese.project(first), siamese.project(second)
    forward = (u1 + v2 > 0) * siamese.weight
    backward = (u2 + v1 > 0) * siamese.weight
    to_first = (forward @ siamese.first.T + backward @ siamese.second.T) / 2
    to_second = (forward @ siamese.second.T + backward @ siamese.first.T) / 2
    return to_first, to_second


def contributions(
    maps: list[torch.Tensor], gradients: torch.Tensor, method: str = "cam"
) -> list[torch.Tensor]:
    """Spread a logit over the places of each depth's map.

    Parameters
    ----------
    maps : list of (B, C_d, h_d, w_d)
    gradients : (B, 2C)
        With respect to `pool(maps)`: the part of the maxima, then of the means.
    method : {"cam", "gradcam"}
        ``cam``: exact; a channel's mean counts at every place and its maximum where it is
        reached, so that all places of all depths sum to ``gradients · pool(maps)``.
        ``gradcam``: every channel weighted by its gradient averaged over places (Selvaraju et
        al., arXiv 1610.02391), smoother and not exact.

    Returns
    -------
    list of (B, h_d, w_d), signed.
    """
    of_max, of_mean = gradients.chunk(2, dim=1)
    sizes = [m.shape[1] for m in maps]
    result = []
    for depth, high, mean in zip(
        maps, of_max.split(sizes, 1), of_mean.split(sizes, 1), strict=True
    ):
        batch, _channels, height, width = depth.shape
        flat = depth.flatten(2)
        if method == "gradcam":
            weight = (high + mean) / (height * width)
            result.append(torch.einsum("bc,bchw->bhw", weight, depth))
            continue
        spread = torch.einsum("bc,bcp->bp", mean / (height * width), flat)
        top, place = flat.max(dim=2)
        spread.scatter_add_(1, place, high * top)
        result.append(spread.view(batch, height, width))
    return result


@cache
def field_offsets(backbone: str) -> tuple[float, ...]:
    """Measure how far each depth's places look from where they lie in their map.

    A stride of 2 with padding makes place i see around pixel 2i and not 2i + 0.5: over several
    layers that is up to half a coarse place, and a map drawn without it lies beside what it
    means. The centre of the effective receptive field (Luo et al., arXiv 1701.04128) is the
    centroid of a middle place's gradient in noise. It is a matter of strides and paddings, so
    random weights show it best.

    Parameters
    ----------
    backbone : str
        Name of the network.

    Returns
    -------
    For each depth: pixels to move the map right and down (negative: left and up).
    """
    side, offsets = 256, []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        encoder = empty_encoder(backbone).eval()
        images = torch.randn(2, 3, side, side).requires_grad_()
        for maps in encoder(images):
            rows, columns = maps.shape[2:]
            middle = maps[:, :, rows // 2, columns // 2].sum()
            (gradient,) = torch.autograd.grad(middle, images, retain_graph=True)
            strength = gradient.square().sum((0, 1))
            strength = strength / strength.sum().clamp_min(1e-20)
            pixels = torch.arange(side, dtype=strength.dtype)
            seen = float(strength.sum(1) @ pixels + strength.sum(0) @ pixels) / 2
            drawn = ((rows // 2 + 0.5) / rows + (columns // 2 + 0.5) / columns) / 2 * side - 0.5
            offsets.append(seen - drawn)
    return tuple(offsets)


def heat(parts: list[torch.Tensor], size: int, offsets: Sequence[float] = ()) -> np.ndarray:
    """Add the depths' contributions up at one size and scale each image to [0, 1].

    Only what speaks *for* the logit is kept; 1 is the strongest place of that image. An image
    in which nothing does is all 0.

    Parameters
    ----------
    parts : list of (B, h_d, w_d)
    size : int
    offsets : sequence of float
        Pixels that each depth is moved by (see `field_offsets`); empty: none.

    Returns
    -------
    (B, size, size) float32 in [0, 1].
    """
    total = torch.zeros(len(parts[0]), 1, size, size)
    for part, offset in zip(parts, offsets or [0.0] * len(parts), strict=True):
        # A coarse place stands for many pixels: its share is spread over all of them.
        share = part[:, None] * (part.shape[1] * part.shape[2] / size**2)
        grown = functional.interpolate(share, (size, size), mode="bilinear", align_corners=False)
        total += _moved(grown, offset)
    total = _blur(total, size).relu()
    peak = total.amax((2, 3), keepdim=True)
    return (total / peak.clamp_min(1e-12))[:, 0].numpy()


def class_heat(head, maps, classes, size, method="cam", offsets=()):
    gradients = class_gradients(head, pool(maps), classes)
    return heat(contributions(maps, gradients, method), size, offsets)


def pair_heat(siamese, first, second, size, method="cam", offsets=()):
    gradients = pair_gradients(siamese, pool(first), pool(second))
    return [
        heat(contributions(m, g, method), size, offsets)
        for m, g in zip((first, second), gradients, strict=True)
    ]


def class_cams(
    encoder: nn.Module,
    head: nn.Module,
    images: np.ndarray,
    classes: np.ndarray,
    device: torch.device | str,
    method: str = "cam",
    offsets: Sequence[float] = (),
) -> np.ndarray:
    """Return classifier CAMs (B, S, S) in [0, 1] of uint8 RGB images (B, S, S, 3)."""
    maps = encode_maps(encoder, images, device)
    gradients = class_gradients(head, pool(maps), classes)
    size = images.shape[1]
    return heat(contributions(maps, gradients, method), size, offsets)


def pair_cams(
    encoder: nn.Module,
    siamese: FactoredSiamese,
    first: np.ndarray,
    second: np.ndarray,
    device: torch.device | str,
    method: str = "cam",
    offsets: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Return Siamese CAMs, (B, S, S) in [0, 1] each, of B pairs of uint8 images (B, S, S, 3)."""
    maps = encode_maps(encoder, first, device), encode_maps(encoder, second, device)
    gradients = pair_gradients(siamese, pool(maps[0]), pool(maps[1]))
    size = first.shape[1]
    heats = [
        heat(contributions(m, g, method), size, offsets)
        for m, g in zip(maps, gradients, strict=True)
    ]
    return heats[0], heats[1]


def _moved(grown: torch.Tensor, offset: float) -> torch.Tensor:
    """Move maps (B, 1, S, S) right and down by so many pixels; edges are repeated."""
    if not offset:
        return grown
    # In grid_sample's units an image is 2 wide.
    move = -2 * offset / grown.shape[-1]
    theta = torch.tensor([[1.0, 0.0, move], [0.0, 1.0, move]]).expand(len(grown), 2, 3)
    grid = functional.affine_grid(theta, list(grown.shape), align_corners=False)
    return functional.grid_sample(grown, grid, padding_mode="border", align_corners=False)


def _blur(total: torch.Tensor, size: int) -> torch.Tensor:
    """Smooth by about a thirtieth of the image: a maximum is one point, an eye needs a spot."""
    sigma = size / 30
    radius = max(1, min(round(3 * sigma), size - 1))
    offsets = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    total = functional.pad(total, (radius,) * 4, mode="reflect")
    total = functional.conv2d(total, kernel.view(1, 1, 1, -1))
    return functional.conv2d(total, kernel.view(1, 1, -1, 1))
