"""The part of the evidence that is a class token's: of the whole picture, and of no place in it."""

import numpy as np
import torch

from clusterkit.auditing import cam
from clusterkit.auditing.explain import Encoded, Explainer
from clusterkit.encoders.encoder import Encoder
from clusterkit.models.heads import pool


def pair_token_share(
    explainer: Explainer, first: Encoded, second: Encoded, classes: np.ndarray
) -> np.ndarray:
    """Return how much of the evidence of B pairs is the class tokens', (B,) in [0, 1].

    What an image adds to the logit is the sum over its places and its token. The share is
    ``|token| / (|token| + |all places together|)``, both images of a pair taken together.

    Parameters
    ----------
    first, second : Encoded
        B images each.
    classes : (B,) int
        See `Explainer.pair_heats`.
    """
    found = explainer.pair_parts(first, second, classes)
    places = explainer.networks.encoder.places
    return _share([_parted(side, places) for side in (found.first, found.second)])


def class_token_share(explainer: Explainer, images: Encoded, classes: np.ndarray) -> np.ndarray:
    """Return the same (B,) of the classifier's logits of classes (B,); see `pair_token_share`."""
    maps = images.classifier
    gradients = cam.class_gradients(explainer.networks.classifier_head, pool(maps), classes)
    reference = explainer.averages[0].of_classes(classes) if explainer.averages else None
    parts = cam.contributions(maps, gradients, "cam", reference)
    return _share([_parted(parts, explainer.networks.encoder.places)])


def about_token(encoder: Encoder, shares: dict[str, float] | None = None) -> str:
    """Return a sentence on what the overlays leave out; "": nothing.

    Parameters
    ----------
    encoder : Encoder
    shares : dict or None
        Means of `pair_token_share` under ``pair`` and of `class_token_share` under ``class``,
        where they were measured.
    """
    if not encoder.tokens:
        return ""
    held = "part of the evidence"
    if shares:
        held = (
            f"{shares['pair']:.0%} of the similarity's evidence and {shares['class']:.0%} of the "
            "classifier's"
        )
    return (
        "This encoder's class token sees the whole picture and has no place in it. It holds "
        f"{held}, which no overlay shows."
    )


def _parted(parts: list[torch.Tensor], places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sums (B,) of the tokens' parts and of all places'."""
    sums = torch.stack([part.sum((1, 2)) for part in parts])
    at_places = sums[places].sum(0)
    return sums.sum(0) - at_places, at_places


def _share(sides: list[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    token = torch.stack([side[0].abs() for side in sides]).sum(0)
    places = torch.stack([side[1].abs() for side in sides]).sum(0)
    return (token / (token + places).clamp_min(1e-12)).numpy()
