"""Parameter randomisation (Adebayo et al., arXiv 1810.03292): do CAMs depend on what was learned?

Weights are drawn anew from the head down, stage by stage, and the CAM after each stage is
compared with the trained one. A map that stays the same shows the picture, not the model.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from clusterkit.encoders.encoder import Encoder
from clusterkit.models.networks import Networks


def randomised(networks: Networks, seed: int) -> Iterator[tuple[str, Networks]]:
    """Yield (name of the stage, copy of the networks) as more and more stages become random.

    First the heads, then the encoder's stages between the maps that are pooled, the deepest
    first. The networks given are not changed, and the same copy is yielded each time.
    """
    networks = deepcopy(networks)
    both = (networks.encoder, networks.siamese_encoder)
    encoders = [encoder for encoder in both if encoder is not None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
    for stage, draw in _stages(networks, encoders):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            draw()
            state = torch.get_rng_state()
        yield stage, networks


def _stages(
    networks: Networks, encoders: list[Encoder]
) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "heads", partial(_draw, networks.classifier_head, networks.siamese_head)
    # An encoder may have fewer resolutions than usual.
    by_encoder = [encoder.stages() for encoder in encoders]
    for number in range(len(by_encoder[0]), 0, -1):
        layers = [layer for stages in by_encoder for layer in stages[number - 1]]
        yield f"stage {number}", partial(_draw, *layers)


@torch.no_grad()
def _draw(*modules: nn.Module) -> None:
    for module in (part for whole in modules for part in whole.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            # torch counts the outputs of all groups: a depthwise layer's maps would vanish.
            module.weight.mul_(getattr(module, "groups", 1) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        else:
            # Scales that a network holds by itself have no distribution to draw from.
            for own in module.parameters(recurse=False):
                own.copy_(
                    own.flatten()[torch.randperm(own.numel(), device=own.device)].view_as(own)
                )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation (N,) of maps (N, s, s) in pairs; NaN: one is constant."""
    a, b = (rankdata(m.reshape(len(m), -1), axis=1) for m in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(size > 0, (a * b).sum(1) / np.where(size > 0, size, 1), np.nan)


def cascade(
    networks: Networks, draw: Callable[[Networks], np.ndarray], seed: int
) -> tuple[dict[str, float], float]:
    """Compare CAMs of trained weights with those of ever more random ones.

    Parameters
    ----------
    networks : Networks
    draw : callable
        Networks → CAMs (N, s, s) of the same N images.
    seed : int

    Returns
    -------
    Stage → mean absolute rank correlation with the trained CAMs, each stage with all before it
    random (random heads turn the sign of the evidence as often as not, so that a map of the
    picture alone would cancel out); and the floor: the same
    of the trained CAMs of *different* images, which what
    all pictures share (such as a centre) gives without any weights. NaN: cannot be said.
    """
    trained = draw(networks)
    found = {
        stage: _mean(np.abs(rank_correlation(trained, draw(copy))))
        for stage, copy in randomised(networks, seed)
    }
    others = [_mean(np.abs(rank_correlation(trained, np.roll(trained, k, axis=0))))
              for k in range(1, min(len(trained), 5))]  # fmt: skip
    return found, _mean(np.array(others))


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
