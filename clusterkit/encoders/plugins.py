"""A user's own encoders, found by entry points in the group ``clusterkit.encoders``.

An entry point names a function without parameters that returns a module and what it expects: see
`examples/own_encoder.py`.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from clusterkit.encoders import GROUP
from clusterkit.encoders.backbone import PLUGIN, Backbone, EncoderRecord
from clusterkit.encoders.encoder import Encoder, EncoderInput, check_maps
from clusterkit.errors import WeightsError

_KEYS = ("mean", "std", "size", "interpolation", "crop_pct")


class PluginEncoder(Encoder):
    """A user's module as an encoder.

    Attributes
    ----------
    network : nn.Module
        (B, 3, H, W) normalised RGB → one map (B, C, h, w) or several, the shallowest first.
    """

    def __init__(self, network: nn.Module, expects: EncoderInput, name: str, size: int) -> None:
        super().__init__()
        self.network, self.expects, self.side = network, expects, size
        self.depths = [shape[1] for shape in check_maps(network, name, size)]
        self.groups = [1] * len(self.depths)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps of normalised images."""
        maps = self.network(images)
        return list(maps) if isinstance(maps, list | tuple) else [maps]

    def stages(self) -> list[list[nn.Module]]:
        """Return the whole network as one stage: what is inside is not known."""
        return [[self.network]]

    def layer(self, number: int) -> None:
        """Return None: what is inside is not known."""
        return


def plugin_names() -> list[str]:
    """Return the names of all encoders that installed packages offer."""
    return sorted(point.name for point in _points())


def load_plugin(name: str, weights: str, size: int | None) -> Backbone:
    """Build a user's encoder, with the weights that it brings.

    Raises
    ------
    WeightsError
        It cannot be built, or is no encoder; or weights are asked for that are not its own.
    """
    if weights != "auto":
        raise WeightsError(f"backbone '{name}' is of an installed package and brings its own "
                           f"weights; leave out --weights {weights}")  # fmt: skip
    point = next(point for point in _points() if point.name == name)
    network, expects = _built(point)
    encoder = PluginEncoder(network, expects, name, size or expects.size)
    package = "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    record = EncoderRecord(
        source=PLUGIN,
        name=name,
        architecture=point.value,
        package=package,
        weights=package or point.value,
        expects=expects,
    )
    return Backbone(encoder, record)


def empty_plugin(record: EncoderRecord, size: int) -> PluginEncoder:
    """Return a run's encoder as its package builds it, to be filled from the run.

    Raises
    ------
    WeightsError
        The package is not installed.
    """
    points = [point for point in _points() if point.name == record.name]
    if not points:
        raise WeightsError(
            f"encoder '{record.name}' is of the package {record.package or record.architecture}, "
            "which is not installed here; install it"
        )
    network, _ = _built(points[0])
    return PluginEncoder(network, record.expects, record.name, size)


def _points() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _built(point: EntryPoint) -> tuple[nn.Module, EncoderInput]:
    where = f"encoder '{point.name}' ({point.value})"
    try:
        found: Any = point.load()()
    except Exception as error:
        raise WeightsError(
            f"{where} cannot be used: {type(error).__name__}: {error}; mend or update its package"
        ) from error
    try:
        network, values = found
        if not isinstance(network, nn.Module):
            raise TypeError(f"{type(network).__name__} is no torch module")
        unknown = sorted(set(values) - set(_KEYS))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} (known: {', '.join(_KEYS)})")
        expects = EncoderInput.from_dict(EncoderInput().to_dict() | dict(values))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where} returns no (module, {{'mean': …, 'std': …, 'size': …}}): "
                           f"{error}") from error  # fmt: skip
    return network, expects
