"""AdamW under the one-cycle schedule, for heads on cached features."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

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
    with _one_thread():
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: on a machine that does other work too, threads wait for each other.

    A step takes milliseconds, and each of its dozens of small products would wait for the slowest
    thread: with another program on one of two cores a demo took three times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
