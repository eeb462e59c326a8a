"""The Siamese head on cached features: seconds for all folds, where images need minutes."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clusterkit.models.heads import HIDDEN, create_head, pair_features
from clusterkit.models.scaling import HEAD_SHRINKAGE, shrunk_variance
from clusterkit.training.one_cycle import train_one_cycle
from clusterkit.training.pairs import draw_pairs

# Principal axes that pairs are compared in. With N images the features span at most N − 1
# dimensions, and beyond the first few dozen these tell patients apart better than classes.
_AXES = 64

_PAIRS = 128
_LEAST_STEPS = 100
_LEAST_SPREAD = 1e-5


def fit_pair_head(
    views: torch.Tensor,
    labels: np.ndarray,
    chains: list[list[int]],
    epochs: int,
    lr: float,
    weight_decay: float,
    seed: int,
    record: Callable[[int, float], None] | None = None,
) -> nn.Sequential:
    """Fit the article's head (`create_head`) on pairs of images, half of them of one class.

    Trained in the space of the first principal axes of the standardised features and folded
    back exactly into a head over all of them: 40 times fewer weights, so that the heads of
    all folds take seconds, and a few dozen images do not get lost in 10,000 directions (malaria,
    20 per class: the nearest class is right for 78%, with all directions for 70%).

    Parameters
    ----------
    views : (V, N, D) float Tensor
        Pooled features of every view of the images.
    labels : (N,) int
    chains : list of list of int
        Channels of each depth of each encoder, as for `fit_linear_head`.
    epochs : int
        Passes over the images; there are at least 100 steps of 128 pairs.
    lr, weight_decay : float
    seed : int
    record : callable or None
        See `train_one_cycle` for these.

    Returns
    -------
    head : (B, 2D) pairs as `pair_features` joins them → (B, 1) logits.
    """
    generator = torch.Generator().manual_seed(seed)
    # Dropout and the first weights draw from the global generator.
    torch.manual_seed(seed)
    flat = views.flatten(0, 1)
    mean, variance = flat.mean(0), flat.var(0, correction=0)
    variance = shrunk_variance(variance, chains, HEAD_SHRINKAGE)
    # As BatchNorm does it, so that the head that is folded back is the same to the last digit.
    scale = torch.sqrt(variance + nn.BatchNorm1d(1).eps)
    n_classes = len(np.unique(labels))
    axes = _principal_axes((flat - mean) / scale, max(_AXES, 2 * n_classes))
    reduced = ((views - mean) / scale) @ axes
    first = nn.Linear(2 * axes.shape[1], HIDDEN, bias=False)
    nn.init.kaiming_normal_(first.weight)
    rest = create_head(2, 1)[3:]
    model = nn.Sequential(nn.Dropout(0.25), first, *rest)
    steps = max(_LEAST_STEPS, math.ceil(epochs * len(labels) / _PAIRS))
    loss = _pair_loss(model, reduced, labels, generator)
    train_one_cycle(model, loss, steps, lr, weight_decay, record)
    return _unfold(first, rest, mean, variance, axes).eval()


def _principal_axes(standardised: torch.Tensor, most: int) -> torch.Tensor:
    """Return axes (D, P), scaled so that the first component has variance 1."""
    spread, axes = _leading_axes(standardised, most)
    count = max(1, int((spread > 1e-3 * spread[0]).sum()))
    first = (spread[0] / math.sqrt(len(standardised))).clamp_min(_LEAST_SPREAD)
    return axes[:, :count] / first


def _leading_axes(standardised: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest singular values (P,), falling, and the axes (D, P) that they are of.

    By the products of whichever are fewer, images or features: of thousands of features only a few
    dozen axes are wanted.
    """
    images, features = standardised.shape
    across = standardised if images < features else standardised.T
    # The products in float32: no axis is wanted that their rounding could touch.
    squares, vectors = torch.linalg.eigh((across @ across.T).double())
    most = min(most, len(squares))
    spread = squares[-most:].flip(0).clamp_min(0).sqrt()
    vectors = vectors[:, -most:].flip(1)
    if images < features:
        vectors = standardised.T @ vectors.float() / spread.float().clamp_min(1e-12)
    return spread.float(), vectors.float()


def _pair_loss(
    model: nn.Module, reduced: torch.Tensor, labels: np.ndarray, generator: torch.Generator
) -> Callable[[], torch.Tensor]:
    """Return the loss, as a function of nothing, on pairs drawn anew of features (V, N, P)."""
    classes = torch.as_tensor(np.unique(labels, return_inverse=True)[1])

    def batch_loss() -> torch.Tensor:
        first, second, same = draw_pairs(classes, _PAIRS, generator)
        drawn = torch.randint(len(reduced), (2, _PAIRS), generator=generator)
        pairs = torch.cat([reduced[drawn[0], first], reduced[drawn[1], second]], dim=1)
        return binary_cross_entropy_with_logits(model(pairs)[:, 0], same.float())

    return batch_loss


def _unfold(
    first: nn.Linear, rest: nn.Sequential, mean: torch.Tensor, variance: torch.Tensor,
    axes: torch.Tensor,
) -> nn.Sequential:  # fmt: skip
    """Return the head over all features that does the same as the one over reduced ones."""
    size, count = len(mean), axes.shape[1]
    # Its weights are given: to draw millions of numbers first would take longer than the rest.
    with torch.device("meta"):
        head = create_head(2 * size, 1)
    norm, _, linear, _, norm2, _, linear2 = head.to_empty(device="cpu")
    assert isinstance(norm, nn.BatchNorm1d)
    norm.reset_parameters()
    with torch.no_grad():
        of_first, of_second = first.weight[:, :count], first.weight[:, count:]
        weight = pair_features(of_first @ axes.T, of_second @ axes.T)
    norm.load_state_dict(
        norm.state_dict()
        | {
            "running_mean": pair_features(mean[None], mean[None])[0],
            "running_var": pair_features(variance[None], variance[None])[0],
        }
    )
    linear.load_state_dict({"weight": weight})
    norm2.load_state_dict(rest[1].state_dict())
    linear2.load_state_dict(rest[3].state_dict())
    return head
