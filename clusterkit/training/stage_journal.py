"""The training of one network in the journal of its fit: its last epoch, then its outcome."""

from typing import Any

import torch
from torch import nn

from clusterkit.formats.fit_journal import KeepsNothing, Piece
from clusterkit.formats.tensor_parts import named, part_of
from clusterkit.training.history import History
from clusterkit.training.random_states import random_states, restore_random_states


class StageJournal:
    """What is kept of one network's training, and the losses that it has written so far.

    Parameters
    ----------
    journal : KeepsNothing
    name : str
        Of the network and the fold.
    history : History
        To which this training alone adds rows while it lasts.
    """

    def __init__(self, journal: KeepsNothing, name: str, history: History) -> None:
        self.history = history
        self._journal, self._name, self._first = journal, name, len(history.rows)

    def load_outcome(self, model: nn.Module, device: str) -> bool:
        """Fill a model with the outcome, if the training was done; else leave it as it is.

        Whatever draws random numbers afterwards draws those that it would have drawn.
        """
        piece = self._journal.load(self._name)
        if piece is None:
            return False
        at_rest(model).load_state_dict(part_of(piece.tensors, "model"))
        self.history.rows += piece.values["history"]
        states = Piece(part_of(piece.tensors, "random"), piece.values["random"])
        restore_random_states(states, torch.device(device))
        return True

    def keep_outcome(self, model: nn.Module, device: str) -> None:
        """Keep a model whose training is done, in the place of its last epoch."""
        states = random_states(torch.device(device))
        tensors = named("model", model.state_dict()) | named("random", states.tensors)
        self._keep(self._name, tensors, {"random": states.values})
        self._journal.drop(self._epoch)

    def load_epoch(self) -> Piece | None:
        """Return what was kept of the last epoch, whose losses are in the history afterwards."""
        piece = self._journal.load(self._epoch)
        if piece is not None:
            self.history.rows += piece.values["history"]
        return piece

    def keep_epoch(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Keep an epoch in the place of the one before it."""
        self._keep(self._epoch, tensors, values)

    @property
    def _epoch(self) -> str:
        return f"{self._name}-epoch"

    def _keep(self, name: str, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        own = self.history.rows[self._first :]
        self._journal.keep(name, tensors, values | {"history": own})


def at_rest(model: nn.Module) -> nn.Module:
    """Bring a model to the CPU, laid out as a run's file has it, in evaluation mode."""
    return model.to("cpu").to(memory_format=torch.contiguous_format).eval()
