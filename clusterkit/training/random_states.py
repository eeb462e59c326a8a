"""States of the generators that training draws from, as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch

from clusterkit.formats.fit_journal import Piece


def random_states(device: torch.device, *own: random.Random) -> Piece:
    """Return the states of Python's, NumPy's and torch's generators.

    Parameters
    ----------
    device : device
        Whose generator is meant beside the processor's.
    *own : Random
        Others that are drawn from.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    tensors = {"numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
               "torch": torch.get_rng_state()}  # fmt: skip
    values: dict[str, Any] = {"numpy": [str(name), int(position), int(has_gauss), float(gauss)]}
    if device.type == "cuda":
        tensors["device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["device"] = torch.mps.get_rng_state()
    for number, get in enumerate((random.getstate, *(one.getstate for one in own))):
        version, words, next_gauss = get()
        tensors[f"python-{number}"] = torch.tensor(words, dtype=torch.int64)
        values[f"python-{number}"] = [version, next_gauss]
    return Piece(tensors, values)


def restore_random_states(states: Piece, device: torch.device, *own: random.Random) -> None:
    """Go on drawing where `random_states` was called with the same arguments."""
    tensors, values = states
    name, position, has_gauss, gauss = values["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, gauss))
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["device"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(tensors["device"])
    for number, put in enumerate((random.setstate, *(one.setstate for one in own))):
        version, next_gauss = values[f"python-{number}"]
        words = tuple(tensors[f"python-{number}"].tolist())
        put((version, words, next_gauss))
