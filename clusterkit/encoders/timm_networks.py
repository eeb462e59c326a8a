"""Encoders of timm: any of its image models, from its names, a hub, a folder or a file.

Only tensors are read, so that nothing in a file is run; timm's own conversion of older checkpoints
is used, and that every tensor of the network is there is checked here.
"""

import json
import logging
import math
import sys
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clusterkit.encoders import packaged
from clusterkit.encoders.backbone import TIMM, Backbone, EncoderRecord
from clusterkit.encoders.checksums import sha256_of
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.encoders.hub import download
from clusterkit.encoders.timm_encoder import TimmEncoder
from clusterkit.encoders.weight_files import do_not_fit, file_in_folder, read_tensors
from clusterkit.errors import WeightsError, nearest_name

with warnings.catch_warnings():
    # In a notebook without widgets the hub's client says that its bars need them.
    warnings.simplefilter("ignore")
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.models import clean_state_dict, get_pretrained_cfg, parse_model_name

log = logging.getLogger("clusterkit")

# What of timm's description of a network decides how it is built and fed.
_CONFIG = ("architecture", "input_size", "fixed_input_size", "global_pool", "interpolation",
           "crop_pct", "crop_mode", "mean", "std", "first_conv", "classifier")  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """What is built, and where its weights are from.

    Attributes
    ----------
    architecture : str
        As timm has it, with a tag or without.
    config : dict or None
        timm's description of the network; None: that of timm's own list.
    arguments : dict
        Of the architecture.
    file : Path or None
        Of the weights; None: random ones.
    origin : str
        See `EncoderRecord.weights`.
    """

    architecture: str
    config: dict[str, Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    origin: str = "none"


def load_timm(name: str, weights: str, size: int | None) -> Backbone:
    """Build an encoder of timm with weights of a given source; see `registry.load_backbone`.

    Raises
    ------
    WeightsError
        No such network, it makes no maps of RGB images of that size, or the weights do not fit it
        or cannot be had.
    """
    plan = _plan(name, weights)
    network, arguments = _build(plan, name, size)
    expects = _expects(network, name)
    if plan.file is not None:
        _fill(network, name, plan.file)
    encoder = TimmEncoder(network, name, size or expects.size, expects)
    record = EncoderRecord(
        source=TIMM,
        name=Path(name).name if name.startswith("local-dir:") else name,
        architecture=plan.architecture.partition(".")[0],
        arguments=arguments,
        package=f"timm {version('timm')}",
        weights=plan.origin,
        sha256=None if plan.file is None else sha256_of(plan.file),
        expects=expects,
    )
    return Backbone(encoder, record)


def empty_timm(record: EncoderRecord, size: int) -> TimmEncoder:
    """Return the encoder of a run's record with random weights, to be filled from the run.

    Raises
    ------
    WeightsError
        The timm that is installed does not know the architecture.
    """
    if not timm.is_model(record.architecture):
        raise WeightsError(
            f"timm {version('timm')} knows no architecture '{record.architecture}' of encoder "
            f"'{record.name}' (fitted with {record.package}); install that version"
        )
    check_arguments(record.arguments, record.name)
    network = timm.create_model(record.architecture, pretrained=False, **record.arguments)
    return TimmEncoder(network, record.name, size, record.expects)


def _plan(name: str, weights: str) -> _Plan:
    given = None if weights in ("auto", "none") else Path(weights)
    try:
        source, what = parse_model_name(name)
    except ValueError as error:
        raise WeightsError(f"backbone '{name}': {error}") from error
    if source == "local-dir":
        return _plan_of_folder(Path(what), name, given, weights)
    if source == "hf-hub":
        if given is not None and given.is_dir() and (given / "config.json").is_file():
            return _plan_of_folder(given, name, None, "auto")
        found = download(what, "config.json")
        if found is None:
            raise WeightsError(f"{what} has no config.json of timm on the hub; give another "
                               "--backbone")  # fmt: skip
        plan = _plan_of_folder(found.parent, name, given, "none")
        if weights != "auto":
            return plan
        return _with_file(plan, _hub_file(what), what)
    return _plan_of_name(name, given, weights)


def _plan_of_folder(folder: Path, name: str, given: Path | None, weights: str) -> _Plan:
    """Plan what `save_for_hf` or a download of a repository left in a folder."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = dict(values.get("pretrained_cfg", values))
        architecture, arguments = str(values["architecture"]), dict(values.get("model_args") or {})
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no config.json of timm; give the folder that "
                           "save_for_hf or a download of the repository left, or name the network "
                           "in --backbone and the file in --weights") from error  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f'{path} describes no network of timm (no "architecture"); name the network in '
            "--backbone and the file in --weights"
        ) from error
    config = {k: v for k, v in config.items() if k in _CONFIG}
    plan = _Plan(architecture, config | {"architecture": architecture}, arguments)
    if given is not None:
        return _with_file(plan, file_in_folder(given) if given.is_dir() else given, given.name)
    if weights == "none":
        return plan
    return _with_file(plan, file_in_folder(folder), folder.resolve().name)


def _plan_of_name(name: str, given: Path | None, weights: str) -> _Plan:
    """Plan a network of timm's own list."""
    if not timm.is_model(name):
        raise WeightsError(
            f"unknown backbone '{name}'{nearest_name(name, timm.list_models())}; a network of "
            "torchvision or timm, hf-hub:owner/name, local-dir:PATH, or a plug-in's"
        )
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(name.partition(".")[0] + ".*")
        raise WeightsError(f"backbone '{name}' has no such weights; timm lists "
                           f"{', '.join(tags[:8]) or 'none'}") from error  # fmt: skip
    plan = _Plan(name)
    if given is not None and given.is_dir():
        if not (given / "config.json").is_file():
            return _with_file(plan, file_in_folder(given), given.name)
        found = _plan_of_folder(given, name, None, "auto")
        if found.architecture.partition(".")[0] != name.partition(".")[0]:
            raise WeightsError(f"{given} holds a {found.architecture} and no {name}; name that one "
                               "in --backbone")  # fmt: skip
        return found
    if given is not None:
        return _with_file(plan, given, given.name)
    if weights == "none":
        return plan
    own = packaged.packaged_file(name.partition(".")[0])
    if own is not None and name.partition(".")[2] in ("", "in1k"):
        return _with_file(plan, own, "packaged")
    repository = config and config.hf_hub_id
    if not repository:
        raise WeightsError(f"timm has no weights of '{name}' on the hub; give --weights FILE, a "
                           "folder, or none")  # fmt: skip
    return _with_file(plan, _hub_file(repository), repository)


def _with_file(plan: _Plan, file: Path, origin: str) -> _Plan:
    return _Plan(plan.architecture, plan.config, plan.arguments, file, origin)


def _hub_file(repository: str) -> Path:
    for name in ("model.safetensors", "open_clip_model.safetensors"):
        found = download(repository, name)
        if found is not None:
            return found
    raise WeightsError(
        f"{repository} has no model.safetensors on the hub, and pickles are not read; convert its "
        "weights where you trust them, and give --weights FILE"
    )


def _build(plan: _Plan, name: str, size: int | None) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with random weights, and the arguments that build it again."""
    config = plan.config or {}
    if plan.config is None:
        known = get_pretrained_cfg(plan.architecture)
        config = {k: v for k, v in known.to_dict().items() if k in _CONFIG} if known else {}
    channels = plan.arguments.get("in_chans", (config.get("input_size") or (3,))[0])
    if channels != 3:
        raise WeightsError(f"backbone '{name}' takes images of {channels} channels, and images "
                           "here are RGB (3); give another --backbone")  # fmt: skip
    arguments = plan.arguments | {"num_classes": 0, "pretrained_cfg": config}
    check_arguments(arguments, name)
    if size is not None and (config.get("fixed_input_size") or "img_size" in arguments):
        arguments["img_size"] = size
    architecture = plan.architecture.partition(".")[0]
    if not timm.is_model(architecture):
        raise WeightsError(f"timm {version('timm')} knows no architecture '{architecture}'; "
                           "update timm, or give another --backbone")  # fmt: skip
    try:
        network = timm.create_model(architecture, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        said = str(error).strip().splitlines()
        raise WeightsError(
            f"backbone '{name}' cannot be built for images of {size or 'its own'} pixels "
            f"({said[0][:200] if said else type(error).__name__}); give another --size"
        ) from error
    _check_patches(network, name, size)
    # Tuples become lists in JSON; it is the same to timm.
    return network, json.loads(json.dumps(arguments))


def check_arguments(arguments: dict[str, Any], name: str) -> None:
    """Refuse what would make timm read other files: a record may be a stranger's."""
    own = {*signature(timm.create_model).parameters} - {"pretrained_cfg"}
    config = arguments.get("pretrained_cfg") or {}
    bad = sorted(own & set(arguments)) + sorted(set(config) - set(_CONFIG))
    if bad:
        raise WeightsError(f"encoder '{name}' is described with '{bad[0]}', which is no part of a "
                           "network; leave it out of its description")  # fmt: skip


def _check_patches(network: nn.Module, name: str, size: int | None) -> None:
    """Refuse a size that is no multiple of the patches: the rest would be cut off silently."""
    embed = getattr(network, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    sides = {patch} if isinstance(patch, int) else set(patch or ())
    for side in sides:
        if size is not None and isinstance(side, int) and size % side:
            nearest = max(side, round(size / side) * side)
            raise WeightsError(f"backbone '{name}' cuts images into patches of {side} pixels, and "
                               f"{size} is no multiple; give --size {nearest}")  # fmt: skip


def _expects(network: nn.Module, name: str) -> EncoderInput:
    try:
        found = resolve_model_data_config(network)
        return EncoderInput.from_dict(found | {"size": max(found["input_size"][1:])})
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"backbone '{name}' describes its images in a way that cannot be used: "
                           f"{error}; give another --backbone") from error  # fmt: skip


def _fill(network: nn.Module, name: str, file: Path) -> None:
    """Load a file of weights, of which every tensor of the network has to be there."""
    tensors = read_tensors(file)
    wanted = network.state_dict()
    if file == packaged.packaged_file(name.partition(".")[0]):
        head = {k: v for k, v in tensors.items() if k.startswith("_fc.")}
        body = {k: v for k, v in tensors.items() if k not in head}
        tensors = packaged.renamed(body, wanted, file.name)
    else:
        tensors = _converted(clean_state_dict(tensors), network, file)
    needed = [k for k in wanted if not k.endswith("num_batches_tracked")]
    missing = [k for k in needed if k not in tensors]
    wrong = [k for k in needed if k in tensors and tensors[k].shape != wanted[k].shape]
    if missing or wrong:
        raise do_not_fit(file.name, name, missing, wrong, len(needed))
    network.load_state_dict({k: v for k, v in tensors.items() if k in wanted}, strict=False)
    bad = [
        k
        for k in needed
        if wanted[k].is_floating_point() and not math.isfinite(float(wanted[k].sum()))
    ]
    if bad:
        raise WeightsError(f"weights {file.name} hold numbers that are not finite (e.g. in "
                           f"'{bad[0]}'); the file is damaged, get it again")  # fmt: skip


def _converted(
    tensors: dict[str, torch.Tensor], network: nn.Module, file: Path
) -> dict[str, torch.Tensor]:
    """Let timm turn the checkpoint of another library or size into this network's."""
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return dict(convert(dict(tensors), network))
    except Exception as error:
        # What is wrong with them is said by what is missing afterwards.
        log.debug("timm converts nothing in %s: %s", file.name, error)
        return tensors
