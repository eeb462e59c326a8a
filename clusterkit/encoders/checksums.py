"""Checksums of files and tensors, by which weights and features are known again."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits, as hubs show it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_tensors(tensors: "Mapping[str, torch.Tensor]", salt: bytes = b"") -> Any:
    """Return a `hashlib` SHA-256 of tensors: of their names, types, shapes and values.

    Parameters
    ----------
    tensors : dict of Tensor
        In any order.
    salt : bytes
        Whatever else it is to depend on.
    """
    import torch

    found = hashlib.sha256(salt)
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(values.numpy().data)
    return found
