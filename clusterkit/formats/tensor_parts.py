"""Names of tensors that several parts keep in one file: ``<part>.<name>``."""

from collections.abc import Mapping

import torch


def named(part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under the name of the part that they are of."""
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def part_of(tensors: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a part under their own names; see `named`."""
    start = f"{part}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
