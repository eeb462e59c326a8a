"""AdamW under the one-cycle schedule, for heads on cached features."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from clusterkit.threads import one_thread

# Steps whose mean loss is recorded as one epoch.
_RECORDED_STEPS = 10


def train_one_cycle(
    model: nn.Module,
    batch_loss: Callable[[], torch.Tensor],
    steps: int,
    lr: float,
    weight_decay: float,
    record: Callable[[int, float], None] | None = None,
) -> None:
    """Train a model in place (Smith and Topin, arXiv 1708.07120).

    Parameters
    ----------
    model : nn.Module
        Left in training mode.
    batch_loss : callable
        Draws a batch and returns the model's mean loss on it, a scalar.
    steps : int
    lr : float
        The highest rate of the schedule.
    weight_decay : float
    record : callable or None
        Called with (epoch, mean loss) every 10 steps, and after the last.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    model.train()
    losses: list[float] = []
    # A step takes milliseconds: each of its dozens of small products would wait for all threads.
    with one_thread():
        for step in range(steps):
            loss = batch_loss()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if record is None:
                continue
            losses.append(float(loss.detach()))
            if len(losses) == _RECORDED_STEPS or step == steps - 1:
                record(step // _RECORDED_STEPS, float(np.mean(losses)))
                losses = []
