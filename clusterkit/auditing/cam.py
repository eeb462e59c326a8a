"""Class activation maps: the places of an image that the evidence for a label comes from.

All maps need one forward pass: the gradient of a logit with respect to the *pooled* features
is known in closed form (the Siamese head) or from the head alone (the classifier), so no hook
is set and the model is never changed. `auditing.explain` puts the steps together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from clusterkit.encoders.encoder import Encoder
from clusterkit.models.forward import normalise
from clusterkit.models.siamese import FactoredSiamese

METHODS = ("cam", "gradcam")
ORDERS = ("both", "forward", "backward")

# Per depth, the reference of maps (B, C_d, h_d, w_d) and of their maxima (B, C_d); a batch of 1
# stands for all images.
Reference = Sequence[tuple[torch.Tensor, torch.Tensor]]


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Hold modules in evaluation mode, and give every part its own mode back, come what may.

    In training mode, a forward pass changes BatchNorm's running means: looking at a model
    would change it.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def encode_maps(
    encoder: Encoder, images: np.ndarray, device: torch.device | str
) -> list[torch.Tensor]:
    """Encode uint8 RGB (B, S, S, 3) to maps (B, C_d, h_d, w_d) of each depth, on the CPU."""
    with evaluating(encoder):
        inputs = normalise(images, device, encoder.expects)
        return [maps.float().cpu() for maps in encoder(inputs)]


def class_gradients(head: nn.Module, features: torch.Tensor, classes: np.ndarray) -> torch.Tensor:
    """Return the gradient (B, 2C) of each image's logit of one class in its pooled features.

    It is the logit before the softmax: what raises all classes alike is part of it.

    Parameters
    ----------
    head : (B, 2C) → (B, K)
    features : (B, 2C)
    classes : (B,) int
    """
    device = next((p.device for p in head.parameters()), features.device)
    with torch.enable_grad(), evaluating(head):
        features = features.detach().to(device, copy=True).requires_grad_()
        logits = head(features)[torch.arange(len(features)), torch.as_tensor(classes)]
        return torch.autograd.grad(logits.sum(), features)[0].cpu()


def pair_gradients(
    siamese: FactoredSiamese,
    first: torch.Tensor,
    second: torch.Tensor,
    order: str = "both",
    usual: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the logit of B pairs in both images' pooled features.

    The logit is piecewise linear: where a hidden unit is on, its weights pass through. At the
    pair itself many units are past their bend: the more typical of two alike images often could
    be less so without loss, and its gradient then points away from what makes them alike. So with
    `usual` the gradient is the mean over the straight line from there to the image, the other
    image held fast: what it gives sums to the difference that the image makes. Those are integrated
    gradients (Sundararajan et al., arXiv 1703.01365), exact here because each unit bends once.

    Parameters
    ----------
    first, second : (B, D)
    order : {"both", "forward", "backward"}
        The mean over both orders (the similarity that labels rest on), f(first, second), or
        f(second, first).
    usual : (B or 1, D) or None
        Pooled features of what images are compared with; None: the gradient at the pair.

    Returns
    -------
    Two tensors (B, D). With `usual`, ``to_first · (first - usual)`` is
    ``logit(first, second) - logit(usual, second)``, and likewise for the second.

    Raises
    ------
    ValueError
        The order is none of those.
    """
    share = order_shares(order)
    (u1, v1), (u2, v2) = siamese.project(first), siamese.project(second)
    forward, backward = u1 + v2, u2 + v1
    from_first = from_second = forward, backward
    if usual is not None:
        u0, v0 = siamese.project(usual)
        from_first, from_second = (u0 + v2, u2 + v0), (u1 + v0, u0 + v1)
    weight = [siamese.weight * part for part in share]

    def to_image(start: tuple[torch.Tensor, torch.Tensor], own, other) -> torch.Tensor:
        of_forward = part_on(start[0], forward) * weight[0]
        of_backward = part_on(start[1], backward) * weight[1]
        return of_forward @ own.T + of_backward @ other.T

    return (to_image(from_first, siamese.first, siamese.second),
            to_image(from_second, siamese.second, siamese.first))  # fmt: skip


def order_shares(order: str) -> tuple[float, float]:
    """Return how much f(first, second) and f(second, first) count in the logit of an order.

    Raises
    ------
    ValueError
        The order is none of `ORDERS`.
    """
    if order not in ORDERS:
        raise ValueError(f"order = {order!r}; allowed: {', '.join(ORDERS)}")
    return {"both": (0.5, 0.5), "forward": (1.0, 0.0), "backward": (0.0, 1.0)}[order]


def part_on(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Return the part of the straight way from start to end on which a unit is above 0.

    ``part_on(a, b) * (b - a) = relu(b) - relu(a)``; where both are the same it is 1 or 0.
    """
    high, low = torch.maximum(start, end), torch.minimum(start, end)
    crossing = high / (high - low).clamp_min(torch.finfo(high.dtype).tiny)
    return torch.where(low > 0, 1.0, torch.where(high > 0, crossing, 0.0))


def pair_logits(
    siamese: FactoredSiamese, first: torch.Tensor, second: torch.Tensor, order: str = "both"
) -> torch.Tensor:
    """Return the logits (B,) of B pairs (B or 1, D); see `pair_gradients` for the order."""
    forward, backward = order_shares(order)
    (u1, v1), (u2, v2) = siamese.project(first), siamese.project(second)
    hidden = forward * torch.relu(u1 + v2) + backward * torch.relu(u2 + v1)
    return hidden @ siamese.weight + siamese.bias


def contributions(
    maps: list[torch.Tensor],
    gradients: torch.Tensor,
    method: str = "cam",
    reference: Reference | None = None,
) -> list[torch.Tensor]:
    """Spread a logit over the places of each depth's map.

    Parameters
    ----------
    maps : list of (B, C_d, h_d, w_d)
    gradients : (B, 2C)
        With respect to `pool(maps)`: the part of the maxima, then of the means.
    method : {"cam", "gradcam"}
        ``cam``: exact; a channel's mean counts at every place and its maximum where it is
        reached, so that all places of all depths sum to ``gradients · (pool(maps) − r)``,
        where r is the reference pooled, 0 without one.
        ``gradcam``: every channel weighted by its gradient averaged over places (Selvaraju et
        al., arXiv 1610.02391), smoother and not exact; it knows no reference.
    reference : sequence of ((B or 1, C_d, h_d, w_d), (B or 1, C_d)) or None
        What each map and each channel's maximum are measured from, e.g. those of an average
        image. An empty place of a picture does not give zeros, so what is measured from 0 is
        mostly what all pictures share.

    Returns
    -------
    list of (B, h_d, w_d), signed.

    Raises
    ------
    ValueError
        The method is none of those.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}; allowed: {', '.join(METHODS)}")
    of_max, of_mean = gradients.chunk(2, dim=1)
    sizes = [m.shape[1] for m in maps]
    result = []
    for d, (high, mean) in enumerate(zip(of_max.split(sizes, 1), of_mean.split(sizes, 1),
                                         strict=True)):  # fmt: skip
        depth = maps[d]
        batch, _channels, height, width = depth.shape
        if method == "gradcam":
            weight = (high + mean) / (height * width)
            result.append(torch.einsum("bc,bchw->bhw", weight, depth))
            continue
        flat = depth.flatten(2)
        top, place = flat.max(dim=2)
        if reference is not None:
            usual, usual_top = reference[d]
            flat, top = flat - usual.flatten(2), top - usual_top
        spread = torch.einsum("bc,bcp->bp", mean / (height * width), flat)
        spread.scatter_add_(1, place, high * top)
        result.append(spread.view(batch, height, width))
    return result


def field_offsets(encoder: Encoder) -> tuple[float, ...]:
    """Measure how far the receptive field of each depth's places is from where they lie in the map.

    A stride of 2 with padding centres place i around pixel 2i and not 2i + 0.5: over several
    layers that is up to half a coarse place, and a map drawn without it lies beside what it
    means. The centre of the effective receptive field (Luo et al., arXiv 1701.04128) is the
    centroid of a middle place's gradient in noise. It is a matter of strides and paddings, so
    random weights show it best. Patches lie where they are drawn.

    Parameters
    ----------
    encoder : Encoder
        It stays as it is.

    Returns
    -------
    For each map with places: pixels of the input to move it right and down (negative: left and up).
    """
    return tuple(offset for part in encoder.parts for offset in _offsets(part))


def _offsets(encoder: Encoder) -> list[float]:
    if encoder.patches:
        return [0.0] * len(encoder.places)
    side, offsets = encoder.side, []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        drawn_anew = _with_random_weights(encoder)
        images = torch.randn(2, 3, side, side).requires_grad_()
        found = drawn_anew(images)
        for maps in (found[number] for number in encoder.places):
            rows, columns = maps.shape[2:]
            middle = maps[:, :, rows // 2, columns // 2].sum()
            (gradient,) = torch.autograd.grad(middle, images, retain_graph=True)
            strength = gradient.square().sum((0, 1))
            strength = strength / strength.sum().clamp_min(1e-20)
            pixels = torch.arange(side, dtype=strength.dtype)
            centre = float(strength.sum(1) @ pixels + strength.sum(0) @ pixels) / 2
            drawn = ((rows // 2 + 0.5) / rows + (columns // 2 + 0.5) / columns) / 2 * side - 0.5
            offsets.append(centre - drawn)
    return offsets


def _with_random_weights(encoder: Encoder) -> Encoder:
    """Return a copy on the CPU, in evaluation mode, whose layers are as new."""
    copy = deepcopy(encoder).cpu().eval()
    for module in copy.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return copy


def heat(parts: list[torch.Tensor], size: int, offsets: Sequence[float] = ()) -> np.ndarray:
    """Add the depths' contributions up at one size and scale each image to [0, 1].

    Only what speaks *for* the logit is kept; 1 is the strongest place of that image. An image
    in which nothing does is all 0.

    Parameters
    ----------
    parts : list of (B, h_d, w_d)
    size : int
        Pixels a side of the result. It may be smaller than the image: everything but `offsets`
        is relative to it.
    offsets : sequence of float
        Pixels *of the result* that each depth is moved by (see `field_offsets`); empty: none.

    Returns
    -------
    (B, size, size) float32 in [0, 1].
    """
    total = torch.zeros(len(parts[0]), size, size)
    for part, offset in zip(parts, offsets or [0.0] * len(parts), strict=True):
        _batch, height, width = part.shape
        # A coarse place stands for many pixels: its share is spread over all of them.
        share = part * (height * width / size**2)
        rows, columns = _spread(height, size, offset), _spread(width, size, offset)
        total += rows @ share @ columns.T
    total = total.relu()
    peak = total.amax((1, 2), keepdim=True)
    return (total / peak.clamp_min(1e-12)).clamp_max(1).numpy()


@lru_cache(maxsize=64)
def _spread(places: int, size: int, offset: float) -> torch.Tensor:
    """Return (size, places): places enlarged bilinearly, moved, and smoothed, along one side.

    All three are linear and the same along both sides, so a map M becomes A M Aᵀ.
    """
    at = (torch.arange(size) + 0.5 - offset) / size * places - 0.5
    at = at.clamp(0, places - 1)
    below = at.floor().long().clamp_max(max(0, places - 2))
    grown = torch.zeros(size, places)
    rows = torch.arange(size)
    grown[rows, below] = 1 - (at - below)
    grown[rows, (below + 1).clamp_max(places - 1)] += at - below
    return _smoothing(size) @ grown


@lru_cache(maxsize=16)
def _smoothing(size: int) -> torch.Tensor:
    """Smooth by about a thirtieth of the image: a maximum is one point, an eye needs a spot."""
    sigma = size / 30
    radius = max(1, min(round(3 * sigma), size - 1))
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(steps.float() ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    result = torch.zeros(size, size)
    for step, weight in zip(steps.tolist(), kernel, strict=True):
        # Mirrored at the edges, where half of the neighbours would be missing.
        source = (torch.arange(size) + step).abs()
        source = torch.where(source > size - 1, 2 * (size - 1) - source, source)
        result[torch.arange(size), source] += weight
    return result
