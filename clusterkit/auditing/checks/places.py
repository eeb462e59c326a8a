"""Checks at known places: the pointing game and the energy inside, beside simpler maps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from clusterkit.auditing.cam import heat
from clusterkit.auditing.checks.curves import blurred
from clusterkit.encoders.encoder import Encoder
from clusterkit.models.forward import normalise
from clusterkit.models.heads import pool
from clusterkit.models.siamese import FactoredSiamese

# TorchRay's margin of the pointing game, for images of 224 pixels a side.
TOLERANCE = 15 / 224


def places_of(
    truth: pd.DataFrame, names: Sequence[str], size: int, resize: str = "squish"
) -> np.ndarray:
    """Turn known places into those of the arrays that the model sees.

    Parameters
    ----------
    truth : DataFrame
        image, x, y, radius, width, height in pixels of the original image (pixel centres).
    names : sequence of str
        Names of N images.
    size, resize
        As for `to_array`.

    Returns
    -------
    (N, 4) float: x, y and the radius along x and y, in pixels of the array; NaN: unknown.
    """
    columns = ["x", "y", "radius", "width", "height"]
    own = truth.drop_duplicates("image").set_index("image").reindex(list(names))[columns]
    x, y, radius, width, height = own.apply(pd.to_numeric, errors="coerce").to_numpy(float).T
    across, down = size / width, size / height
    if resize == "crop":
        across = down = np.maximum(across, down)
    elif resize == "pad":
        across = down = np.minimum(across, down)
    # Cropping and padding keep the centre in the centre.
    left = (size - width * across) / 2
    above = (size - height * down) / 2
    return np.stack(
        [(x + 0.5) * across + left - 0.5, (y + 0.5) * down + above - 0.5,
         radius * across, radius * down], axis=1,
    )  # fmt: skip


def pointing_game(
    heats: np.ndarray, places: np.ndarray, side: int, margin: float = 0.0
) -> np.ndarray:
    """Return (N,) bool: whether each map's hottest place is within the known place.

    Zhang et al., arXiv 1608.00507.

    Parameters
    ----------
    heats : (N, s, s)
        A constant map points nowhere, so it misses.
    places : (N, 4)
        See `places_of`.
    side : int
        Pixels a side of the arrays that `places` are in.
    margin : float
        Added to the radius, as a part of the side; the usual one is `TOLERANCE`.
    """
    size = heats.shape[-1]
    flat = heats.reshape(len(heats), -1)
    row, column = np.divmod(flat.argmax(1), size)
    x, y = ((at + 0.5) / size * side - 0.5 for at in (column, row))
    radius = places[:, 2:] + margin * side
    away = ((x - places[:, 0]) / radius[:, 0]) ** 2 + ((y - places[:, 1]) / radius[:, 1]) ** 2
    return (away <= 1) & (flat.max(1) > flat.min(1))


def energy_inside(heats: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """Return (N,): the share of each map's heat in the known place; 0 for an empty map.

    Wang et al. (Score-CAM), arXiv 1910.01279.
    """
    at = (np.arange(heats.shape[-1]) + 0.5) / heats.shape[-1] * side - 0.5
    x = (at[None] - places[:, :1]) / places[:, 2:3]
    y = (at[None] - places[:, 1:2]) / places[:, 3:]
    inside = x[:, None] ** 2 + y[:, :, None] ** 2 <= 1
    total = heats.sum((1, 2))
    return (heats * inside).sum((1, 2)) / np.where(total > 0, total, 1)


class PairScore(nn.Module):
    """(B, 3, S, S) normalised images → symmetric Siamese logits (B,) with fixed exemplars.

    For gradient methods of other packages: exemplars come as features (B, D).
    """

    def __init__(self, encoder: Encoder, siamese: FactoredSiamese) -> None:
        super().__init__()
        self.encoder, self.siamese = encoder, siamese

    def forward(self, images: torch.Tensor, exemplars: torch.Tensor) -> torch.Tensor:
        """Return logits (B,)."""
        (u1, v1), (u2, v2) = (
            self.siamese.project(f) for f in (pool(self.encoder(images)), exemplars)
        )
        return (torch.relu(u1 + v2) + torch.relu(u2 + v1)) @ self.siamese.weight / 2


def layer_grad_cam(
    score: PairScore, images: np.ndarray, exemplars: torch.Tensor, number: int = -1
) -> np.ndarray | None:
    """Return captum's LayerGradCam (N, S, S) ≥ 0 at a map that is pooled, enlarged bilinearly.

    None: the encoder has no layer that gives this map as (N, C, h, w): its places are tokens, or
    it is a plug-in's network.

    Raises
    ------
    ImportError
        captum is not installed.
    """
    from captum.attr import LayerGradCam

    layer = score.encoder.layer(number)
    inputs = normalise(images, "cpu", score.encoder.expects)
    if layer is None or not _gives_map(score.encoder, layer, number, inputs[:1]):
        return None
    maps = LayerGradCam(score, layer).attribute(
        inputs, additional_forward_args=(exemplars,), relu_attributions=True
    )
    size = images.shape[1:3]
    grown = functional.interpolate(maps.detach(), size, mode="bilinear", align_corners=False)
    return grown[:, 0].numpy()


@torch.no_grad()
def _gives_map(encoder: Encoder, layer: nn.Module, number: int, image: torch.Tensor) -> bool:
    """Return whether a layer's output is laid out as the map is; Swin's has its channels last."""
    seen: list[torch.Size] = []
    handle = layer.register_forward_hook(lambda _, given, result: seen.append(result.shape))
    try:
        maps = encoder(image)
    finally:
        handle.remove()
    return seen == [maps[number].shape]


def integrated_gradients(
    score: PairScore, images: np.ndarray, exemplars: torch.Tensor, steps: int = 16
) -> np.ndarray:
    """Return captum's IntegratedGradients from the blurred image, (N, S, S) ≥ 0, smoothed.

    Smoothed as much as a CAM is: single pixels would lose the pointing game by chance.

    Raises
    ------
    ImportError
        captum is not installed.
    """
    from captum.attr import IntegratedGradients

    plain, without = (normalise(i, "cpu", score.encoder.expects) for i in (images, blurred(images)))
    found = IntegratedGradients(score).attribute(
        plain, without,
        additional_forward_args=(exemplars,), n_steps=steps, internal_batch_size=32,
    )  # fmt: skip
    return heat([found.detach().float().sum(1).abs()], images.shape[1])
