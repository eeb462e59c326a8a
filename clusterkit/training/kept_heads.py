"""Heads that were fitted before a fit was interrupted are taken from its journal."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from clusterkit.formats.fit_journal import KeepsNothing, Piece
from clusterkit.training.history import History


def kept_head(
    journal: KeepsNothing,
    name: str,
    empty: Callable[[], nn.Sequential],
    fit: Callable[[], nn.Sequential],
    history: History | None = None,
) -> nn.Sequential:
    """Return a head in evaluation mode, as the journal has it; else fit it, and keep it there.

    Parameters
    ----------
    journal : KeepsNothing
    name : str
        Whatever tells it from the other heads of this journal.
    empty : callable
        Returns a head of the same layers; its weights are not used.
    fit : callable
    history : History or None
        What `fit` writes into it is kept too.
    """
    piece = journal.load(name)
    if piece is not None:
        if history is not None:
            history.rows += piece.values["history"]
        return filled(empty, piece)
    before = 0 if history is None else len(history.rows)
    head = fit()
    values = {} if history is None else {"history": history.rows[before:]}
    journal.keep(name, head.state_dict(), values)
    return head


def filled(empty: Callable[[], nn.Sequential], piece: Piece) -> nn.Sequential:
    """Return a head with the tensors of a piece."""
    # The largest part of a model: no weights are drawn for it only to be replaced.
    with torch.device("meta"):
        head = empty()
    head.to_empty(device="cpu").load_state_dict(piece.tensors)
    return head.eval()


def rows_digest(*arrays: np.ndarray) -> str:
    """Return 16 hex digits of the SHA-256 of whole numbers (n,) each."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{len(array)}:".encode())
        found.update(np.ascontiguousarray(array, dtype=np.int64).data)
    return found.hexdigest()[:16]
