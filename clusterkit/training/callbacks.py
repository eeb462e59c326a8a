"""fastai callbacks: lower precision, the best weights kept, images trained on."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.amp import GradScaler

from clusterkit.models.forward import BFLOAT16, quick_precision
from clusterkit.progress import StageProgress
from clusterkit.training.fastai_names import (
    Callback,
    CancelFitException,
    CancelValidException,
    L,
    MixedPrecision,
)

# (loss, accuracy) of a model on the validation images; None: there are none.
Validation = Callable[[], tuple[float, float] | None]

# The share of the epochs after which no gain ends the training.
_PATIENCE = 0.2

# Where fastai's one-cycle schedule has its highest rate.
_PEAK = 0.25


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the shorter float that training computes in on a device; None: float32.

    bfloat16 where the processor multiplies it faster (measured with AVX512-BF16 at 224 pixels:
    resnet34 trains 2.1 times as fast, squeezenet1_0 1.7 times); elsewhere on the CPU it would be
    emulated and slower.
    """
    if quick_precision(device) == BFLOAT16:
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else None


def in_half(device: torch.device) -> AbstractContextManager:
    """Return the context in which a device computes in the type of `half_precision`."""
    dtype = half_precision(device)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def in_full(device: torch.device) -> AbstractContextManager:
    """Return the context that computes in float32 within one of `in_half`."""
    # Not every device knows autocast, even to switch it off.
    if half_precision(device) is None:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class HalfPrecision(MixedPrecision):
    """fastai's mixed precision on any device that `half_precision` knows a type for."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def before_fit(self) -> None:
        """Set up what fastai's callback enters and leaves; it knows CUDA alone."""
        self.autocast = in_half(self.device)
        # bfloat16 has float32's range: nothing has to be scaled.
        scaled = half_precision(self.device) == torch.float16
        self.learn.scaler = GradScaler(self.device.type, enabled=scaled)
        self.scales = L()


class KeepBest(Callback):
    """Validates after each epoch, and with early stopping keeps the weights of the best one.

    Training runs under the one-cycle schedule whether it may be stopped or not: its falling rate
    is worth more than epochs saved, and one that is not stopped is fastai's own. No epoch counts
    against patience before the rate has peaked: while it rises, the loss goes up and down without
    meaning. Thereafter a fifth of the epochs (at least 2) without a lower loss ends the
    training. The weights of the best epoch, held in memory, are loaded.

    Parameters
    ----------
    validation : callable
        Returns (loss, accuracy), or None.
    epochs : int
    early_stopping : bool
        Whether the validation loss may choose the epoch. It must not where the images are those
        that calibration measures on.
    record : callable
        Called with (epoch, training loss, validation loss or None, validation accuracy or None).
    """

    order = 70

    def __init__(
        self,
        validation: Validation,
        epochs: int,
        early_stopping: bool,
        record: Callable[[int, float, float | None, float | None], None],
    ) -> None:
        self.validation, self.record = validation, record
        self.early_stopping = early_stopping
        self.first = math.ceil(_PEAK * epochs)
        self.patience = max(2, math.ceil(_PATIENCE * epochs))
        self.best, self.since = math.inf, 0
        self.state: dict[str, torch.Tensor] | None = None

    def before_validate(self) -> None:
        """Measure in place of fastai's loop, which knows only batches with targets."""
        found = self.validation()
        loss, accuracy = found or (None, None)
        self.record(self.epoch, float(self.smooth_loss), loss, accuracy)
        if loss is not None and self.early_stopping:
            self._keep(loss)
        raise CancelValidException

    def after_epoch(self) -> None:
        """End the training when waiting longer has not helped."""
        if self.state is not None and self.since >= self.patience:
            raise CancelFitException

    def after_fit(self) -> None:
        """Load the best epoch's weights."""
        if self.state is not None:
            self.model.load_state_dict(self.state)
            self.state = None

    def kept(self) -> tuple[dict[str, torch.Tensor], list[float]]:
        """Return the weights of the best epoch, and what decides how long to wait for a better."""
        return self.state or {}, [self.best, self.since]

    def restore(self, state: dict[str, torch.Tensor], values: list[float]) -> None:
        """Go on where `kept` was called."""
        self.state = state or None
        self.best, self.since = values[0], int(values[1])

    def _keep(self, loss: float) -> None:
        if loss < self.best:
            self.best, self.since = loss, 0
            state = self.model.state_dict()
            self.state = {k: v.detach().cpu().clone() for k, v in state.items()}
        elif self.epoch >= self.first:
            self.since += 1


class CountImages(Callback):
    """Calls `progress` with (images trained on, images in all); epochs may be done before."""

    def __init__(self, progress: StageProgress, epochs_done: int = 0) -> None:
        # `progress` would hide the learner's callback of that name.
        self.notify, self.epochs_done = progress, epochs_done

    def before_fit(self) -> None:
        """Count from what was done before."""
        self.done = self.epochs_done * len(self.dls.train) * self.dls.train.bs

    def after_batch(self) -> None:
        """Count a batch that trained."""
        if self.training:
            self.done += len(self.yb[0])
            self.notify(self.done, len(self.dls.train) * self.dls.train.bs * self.n_epoch)

    def after_fit(self) -> None:
        """Report all images as done if training was stopped early."""
        self.notify(self.done, self.done)
