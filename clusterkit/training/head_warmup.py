"""A new head is trained alone before the encoder is trained with it."""

import math

import numpy as np
import torch
from torch import nn

from clusterkit.training.one_cycle import train_one_cycle

_BATCH = 64
_LEAST_STEPS = 100
_EPOCHS = 10


def warm_up_head(
    head: nn.Sequential,
    views: torch.Tensor,
    labels: np.ndarray,
    loss: nn.Module,
    lr: float,
    weight_decay: float,
) -> None:
    """Train a new head in place on cached features, before the encoder is trained with it.

    A random head's gradients would undo what the encoder has learned (Kumar et al., arXiv
    2202.10054). Ten epochs on features take less time than one on images.

    Parameters
    ----------
    head : (B, D) → (B, K) logits
    views : (V, N, D) float Tensor
        Pooled features of every view of N ≥ 2 images.
    labels : (N,) int
    loss : nn.Module
        (logits, labels) → scalar.
    lr, weight_decay : float
        See `train_one_cycle`; there are at least 100 steps of 64 images.
    """
    targets = torch.as_tensor(labels)
    steps = max(_LEAST_STEPS, math.ceil(_EPOCHS * len(labels) / _BATCH))

    def batch_loss() -> torch.Tensor:
        rows = torch.randperm(len(targets))[:_BATCH]
        drawn = torch.randint(len(views), rows.shape)
        return loss(head(views[drawn, rows]), targets[rows])

    train_one_cycle(head, batch_loss, steps, lr, weight_decay)
