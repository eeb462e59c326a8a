"""fastai callback: training that was interrupted goes on after its last epoch."""

import random
import time
from typing import Any

import torch

from clusterkit.formats.fit_journal import Piece
from clusterkit.formats.tensor_parts import named, part_of
from clusterkit.training.callbacks import KeepBest
from clusterkit.training.fastai_names import Callback, DataLoaders
from clusterkit.training.random_states import random_states, restore_random_states
from clusterkit.training.stage_journal import StageJournal

# An epoch is kept where that takes less than this part of the time since the last one was.
LARGEST_SHARE = 0.05


class KeepEpochs(Callback):
    """Keeps weights, optimiser, schedule, losses and random numbers after an epoch.

    `fit_one_cycle` must be told `epochs_done` as its first epoch: the schedule is a function of the
    epoch's number. Training then goes on with the very numbers that it would have had.

    Parameters
    ----------
    stage : StageJournal
    best : KeepBest
        Of the same training.
    """

    # After all that change the model or the optimiser, and after `best`.
    order = 90

    def __init__(self, stage: StageJournal, best: KeepBest) -> None:
        self.stage, self.best = stage, best
        self.piece = stage.load_epoch()
        self.epochs_done = 0 if self.piece is None else int(self.piece.values["epochs"])
        self.cost, self.kept_at = 0.0, 0.0

    def before_fit(self) -> None:
        """Put back what was kept."""
        piece, self.piece = self.piece, None
        if piece is None:
            return
        tensors, values = piece
        self.model.load_state_dict(part_of(tensors, "model"))
        self._fill_optimizer(tensors, values["optimizer"])
        self.best.restore(part_of(tensors, "best"), values["best"])
        smooth = self.learn.recorder.smooth_loss
        smooth.val, smooth.count = tensors["smooth_loss"], values["batches"]
        if values["scaler"]:
            self.learn.scaler.load_state_dict(values["scaler"])
        # The loader finds that out when it is first asked, and draws random numbers for it.
        _ = self.dls.n_inp
        states = Piece(part_of(tensors, "random"), values["random"])
        restore_random_states(states, self.dls.device, *_generators(self.dls))

    def after_epoch(self) -> None:
        """Keep this epoch, unless it is the last one or was done before."""
        done, started = self.epoch + 1, time.monotonic()
        if done <= self.epochs_done or done == self.n_epoch:
            return
        if self.cost > LARGEST_SHARE * (started - self.kept_at):
            return
        self.stage.keep_epoch(*self._state(done))
        self.kept_at = time.monotonic()
        self.cost = self.kept_at - started

    def _state(self, done: int) -> Piece:
        states = random_states(self.dls.device, *_generators(self.dls))
        best, best_values = self.best.kept()
        smooth = self.learn.recorder.smooth_loss
        tensors = named("model", self.model.state_dict()) | named("best", best)
        tensors |= named("random", states.tensors) | {"smooth_loss": smooth.val}
        plain: list[dict[str, Any]] = []
        for number, state in enumerate(self.opt.state_dict()["state"]):
            of_one = {k: v for k, v in state.items() if torch.is_tensor(v)}
            tensors |= named(f"optimizer.{number}", of_one)
            plain.append({k: v for k, v in state.items() if k not in of_one})
        # Only where the range of the numbers is short they are scaled.
        scaler = self.learn.scaler.state_dict() if hasattr(self.learn, "scaler") else {}
        values = {"epochs": done, "optimizer": plain, "best": best_values, "scaler": scaler,
                  "batches": smooth.count, "random": states.values}  # fmt: skip
        return Piece(tensors, values)

    def _fill_optimizer(self, tensors: dict[str, torch.Tensor], plain: list[dict]) -> None:
        state = []
        for number, (parameter, *_) in enumerate(self.opt.all_params()):
            kept = part_of(tensors, f"optimizer.{number}")
            # Laid out in memory as the parameter is, as the optimiser would have made them.
            own = {k: torch.empty_like(parameter, dtype=v.dtype).copy_(v) for k, v in kept.items()}
            state.append(own | plain[number])
        self.opt.load_state_dict({"state": state, "hypers": self.opt.hypers})


def _generators(loaders: DataLoaders) -> tuple[random.Random, random.Random]:
    """Return those that fastai's loaders draw the order of images from."""
    return loaders.train.rng, loaders.valid.rng
