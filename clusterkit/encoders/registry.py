"""From the name of a backbone to an encoder, and from a run's record back to one."""

import math
from collections.abc import Mapping
from dataclasses import replace

from clusterkit.encoders import plugins, torchvision
from clusterkit.encoders.backbone import (
    JOINED,
    PLUGIN,
    TIMM,
    TORCHVISION,
    Backbone,
    EncoderRecord,
)
from clusterkit.encoders.encoder import Encoder
from clusterkit.encoders.joined import JoinedEncoder
from clusterkit.encoders.joined_names import SEPARATOR, split_encoders
from clusterkit.errors import WeightsError, shown

# Parameters that may be taken out of a network, whatever is left.
_TAKEN_OUT = 130_000_000


def load_backbone(name: str, weights: str = "auto", size: int | None = None) -> Backbone:
    """Build an encoder with weights of a given source.

    Parameters
    ----------
    name : str
        A network of torchvision that can be cut before its pooling (``resnet34``), the name of a
        plug-in (entry points in the group ``clusterkit.encoders``), or one of timm:
        ``vit_small_patch14_dinov2.lvd142m``, ``hf-hub:owner/name``, ``local-dir:PATH``. Several
        with ``+`` between them are joined.
    weights : str
        ``"auto"``: those that come with a package, else a named download; ``"none"``: random;
        else a ``.safetensors`` or ``.pth`` file, or a folder that holds one; of joined encoders
        one of these each, with ``+`` between them.
    size : int or None
        Pixels a side of the images to come; None: what the encoder was trained on, of several the
        largest.

    Raises
    ------
    WeightsError
        No such network, it makes no maps of RGB images of that size, or the weights do not fit it
        or cannot be had.
    """
    named = split_encoders(name, weights)
    if len(named) == 1:
        return _load_one(name, weights, size)
    found = [_load_one(*one, size) for one in named]
    if size is None and len({part.record.expects.size for part in found}) > 1:
        size = max(part.record.expects.size for part in found)
        found = [_load_one(*one, size) for one in named]
    return _joined(found)


def _load_one(name: str, weights: str, size: int | None) -> Backbone:
    if name in torchvision.backbone_names():
        return torchvision.load_torchvision(name, weights, size)
    if name in plugins.plugin_names():
        return plugins.load_plugin(name, weights, size)
    # Its import takes a second, and most runs do not need it twice.
    from clusterkit.encoders.timm_networks import load_timm

    return load_timm(name, weights, size)


def _joined(found: list[Backbone]) -> Backbone:
    """Join encoders; what is said of all of them is the first one's where they differ."""
    records = [part.record for part in found]
    used = SEPARATOR.join(record.weights for record in records)
    record = EncoderRecord(
        source=JOINED,
        name=SEPARATOR.join(record.name for record in records),
        architecture=SEPARATOR.join(record.architecture for record in records),
        weights=used if any(part.pretrained for part in found) else "none",
        expects=replace(records[0].expects, size=max(r.expects.size for r in records)),
        parts=tuple(records),
    )
    return Backbone(JoinedEncoder([part.encoder for part in found]), record)


def check_size(record: EncoderRecord, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a record's network is not far larger than the weights that a run has for it.

    It is laid out without memory; a stranger's record may name any of a library's networks.

    Parameters
    ----------
    record : EncoderRecord
    shapes : dict of str to tuple of int
        Of the tensors in the run's file of weights.

    Raises
    ------
    WeightsError
        It is, or has tensors of other shapes.
    """
    numbers = sum(map(math.prod, shapes.values()))
    if record.source == JOINED:
        for part in record.parts:
            check_size(part, shapes)
    elif record.source == TORCHVISION:
        _check_count(record, torchvision.parameters_of(record.architecture), numbers)
    elif record.source == TIMM:
        from clusterkit.encoders.timm_size import parameters_of

        _check_count(record, parameters_of(record, shapes), numbers)


def _check_count(record: EncoderRecord, own: int, numbers: int) -> None:
    # What no map needs is taken out of a network: of vgg16, 124 million of 138.
    if own > 4 * numbers + _TAKEN_OUT:
        raise WeightsError(f"encoder '{shown(record.name)}' has {own:,} parameters, and the file "
                           f"of weights {numbers:,}; it is of another network")  # fmt: skip


def empty_like(record: EncoderRecord, size: int) -> Encoder:
    """Return the encoder of a run's record with random weights, to be filled from the run.

    Nothing is downloaded, and no list of networks with weights is asked.

    Parameters
    ----------
    record : EncoderRecord
    size : int
        Pixels a side of the run's images.

    Raises
    ------
    WeightsError
        The library or the plug-in of the network is not installed, or does not know it any more.
    """
    if record.source == TORCHVISION:
        return torchvision.empty_encoder(record.architecture)
    if record.source == PLUGIN:
        return plugins.empty_plugin(record, size)
    if record.source == JOINED:
        return JoinedEncoder([empty_like(part, size) for part in record.parts])
    assert record.source == TIMM
    from clusterkit.encoders.timm_networks import empty_timm

    return empty_timm(record, size)
