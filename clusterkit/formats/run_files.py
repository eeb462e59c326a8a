"""Reading the files of a run, none larger than it can be and all as the format says."""

import json
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load

from clusterkit.config import Config, DataConfig, config_from_dict
from clusterkit.data.guarded_path import open_regular
from clusterkit.data.identity import text_id
from clusterkit.encoders.backbone import FEATURES, TORCHVISION, EncoderRecord
from clusterkit.encoders.encoder import Encoder
from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.encoders.registry import check_size, empty_like
from clusterkit.errors import ConfigError, ImageError, RunError, shown
from clusterkit.formats.csv_text import restore_csv_text
from clusterkit.formats.run_info import RunInfo
from clusterkit.formats.run_schema import (
    GALLERY,
    DamageError,
    check_calibration,
    check_header,
    check_values,
    form_of_weights,
)
from clusterkit.limits import usable_processors
from clusterkit.models.forward import BFLOAT16, FLOAT32
from clusterkit.models.heads import HEADS, create_head
from clusterkit.models.networks import Networks

MANIFEST_COLUMNS = ["image", "image_id", "label", "group", "split", "frame", "provenance"]
# Columns that older runs lack.
_LATER_COLUMNS = {"provenance"}

# Bytes of a file beside what grows with the labelled images; JSON takes fifty times its size.
_MOST_RECORD = 8 << 20
# Of a row of the manifest, and of each number of the held-out images.
_MOST_ROW, _MOST_NUMBER = 1 << 14, 32
# Of the first line of a table: each name in it becomes a column.
_MOST_HEAD = 1 << 16

# Characters of a setting that cannot be used which are said.
_MOST_SAID = 300

# Pixels of a batch: 64 images of a thousand pixels a side. A run does not choose more by itself.
_MOST_PIXELS = 1 << 26


def read_record_file(path: Path, most: int = _MOST_RECORD) -> dict[str, Any]:
    """Read a JSON object of a run, of at most so many bytes.

    Raises
    ------
    RunError
        It is larger, or none.
    """
    try:
        if path.stat().st_size > most:
            raise RunError(f"{path} is damaged (larger than {most >> 20} MB); fit the run again")
        with _opened(path) as file:
            values = json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read as JSON ({error}); fit the run again") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} holds no JSON object; fit the run again")
    return values


def read_run_manifest(path: Path | str) -> pd.DataFrame:
    """Read a run's labelled images without loading its networks; see `Run.manifest`.

    Raises
    ------
    RunError
        The table is missing or damaged.
    """
    file = Path(path) / "manifest.csv"
    table = _read_table(file)
    missing = [c for c in MANIFEST_COLUMNS if c not in table and c not in _LATER_COLUMNS]
    if missing or table.empty:
        what = f"no column {missing[0]}" if missing else "no rows"
        raise RunError(f"{file} is damaged ({what}); fit the run again")
    for column in [
        c for c in table if c in ("image", "label", "group") or c not in MANIFEST_COLUMNS
    ]:
        table[column] = [restore_csv_text(v) for v in table[column]]
    table["image_id"] = [text_id(v) for v in table["image_id"]]
    return table if "provenance" in table else table.assign(provenance="given")


def read_history(path: Path) -> pd.DataFrame:
    """Read a run's `history.csv`: a row per epoch."""
    _check_head(path / "history.csv")
    return pd.read_csv(path / "history.csv", encoding="utf-8-sig")


def _read_table(file: Path) -> pd.DataFrame:
    try:
        _check_head(file)
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if not isinstance(table.index, pd.RangeIndex):
            raise DamageError("a row has more cells than there are names")
        return table
    except (OSError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise RunError(f"{file} is damaged ({said}); fit the run again") from error


def _check_head(file: Path) -> None:
    with _opened(file) as opened:
        if len(opened.readline(_MOST_HEAD)) == _MOST_HEAD:
            raise DamageError("its first line is too long")


def _opened(file: Path) -> BufferedReader:
    """Open a file of a run; a pipe in its place is damage, and nobody waits for its other end."""
    try:
        return open_regular(file)
    except ImageError as error:
        raise DamageError(f"{file.name}: {error}") from error


def read_gallery(path: Path, sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    """Read `gallery.safetensors`.

    Parameters
    ----------
    path : Path
        The run.
    sizes : dict of str to int
        E, K and C, see `run_schema`; D and others are added.

    Raises
    ------
    DamageError
        A tensor is not as the format says.
    """
    file = path / "gallery.safetensors"
    names = check_header(GALLERY, _header(file), sizes)
    forms = {name: form for part in GALLERY for name, form in part.items()}
    tensors = _load_tensors(file, names)
    for name, tensor in tensors.items():
        check_values(name, forms[name], tensor.numpy(), sizes)
    return tensors


def read_calibration(path: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Read `calibration.json`, after the gallery, whose sizes it has.

    Raises
    ------
    RunError
        It is no JSON object of this size.
    DamageError
        A value is not as the format says.
    """
    numbers = sizes["E"] * (sizes["K"] + 8)
    values = read_record_file(path / "calibration.json", _MOST_RECORD + _MOST_NUMBER * numbers)
    check_calibration(values, sizes)
    return values


def read_run_config(info: RunInfo, where: str) -> Config:
    """Return the settings of a run as far as it chooses any.

    No folder and no file is one that a run names, and no batch takes the memory of a machine: a
    run may be a stranger's.

    Raises
    ------
    ConfigError
        A key or value is not allowed.
    """
    try:
        config = config_from_dict(info.config, where=where)
    except ConfigError as error:
        raise ConfigError(shown(str(error), _MOST_SAID)) from error
    none = DataConfig()
    data = replace(
        config.data,
        source=none.source, images=none.images, unlabeled=none.unlabeled, key_file=none.key_file,
        label_map=none.label_map, follow_links=none.follow_links, link_roots=none.link_roots,
    )  # fmt: skip
    how, largest = config.assign, max(1, _MOST_PIXELS // config.image.pixels**2)
    batch_size, workers = how.batch_size, how.workers
    if batch_size is not None or largest < 64:
        batch_size = min(batch_size or 64, largest)
    if workers is not None:
        workers = min(workers, usable_processors())
    assign = replace(how, batch_size=batch_size, workers=workers)
    return replace(config, data=data, assign=assign)


def read_networks(path: Path, info: RunInfo, features: int) -> Networks:
    """Read `weights.safetensors` into networks that give so many features.

    Raises
    ------
    DamageError
        The weights are of another network, or no numbers.
    """
    file = path / "weights.safetensors"
    header = _header(file)
    for name, (kind, _) in header.items():
        if kind not in form_of_weights(name).types:
            raise DamageError(f"{name} is of type {kind}")
    if header.get("siamese_head.0.running_mean", ("", ()))[1] != [2 * features]:
        raise DamageError(f"weights of another encoder than {info.backbone}")
    state = _load_tensors(file, list(header))
    for name, tensor in state.items():
        check_values(name, form_of_weights(name), tensor.numpy(), {})
    # What a record says must not fill the memory.
    check_size(_encoder_record(info), {name: tuple(one.shape) for name, one in state.items()})
    encoder, given = _empty_encoder(info)
    if given != features:
        raise DamageError(f"weights of another encoder than {info.backbone}")
    # The heads are the largest part: no weights are drawn for them only to be replaced.
    with torch.device("meta"):
        classifier_head = HEADS[info.classifier_head](features, len(info.classes))
        siamese_head = create_head(2 * features, 1)
    networks = Networks(
        encoder=encoder,
        classifier_head=classifier_head.to_empty(device="cpu"),
        siamese_head=siamese_head.to_empty(device="cpu"),
        siamese_encoder=_empty_encoder(info)[0] if info.encoder == "separate" else None,
        precision=_precision(info),
    )
    for prefix, part in networks.parts().items():
        names = [name for name in state if name.startswith(f"{prefix}.")]
        part.load_state_dict({name[len(prefix) + 1 :]: state.pop(name) for name in names})
    return networks.to("cpu")


def _empty_encoder(info: RunInfo) -> tuple[Encoder, int]:
    """Return the encoder of a run without its weights, and how many features it gives."""
    if info.features is not None:
        given = GivenFeatures(info.features.dimension, info.features.chains)
        return given, given.dimension
    encoder = empty_like(_encoder_record(info), info.size)
    return encoder, 2 * encoder.channels


def _encoder_record(info: RunInfo) -> EncoderRecord:
    if info.features is not None:
        return EncoderRecord(FEATURES, info.backbone, info.backbone)
    if info.network:
        return EncoderRecord.from_dict(info.network)
    return EncoderRecord(TORCHVISION, info.backbone, info.backbone)


def _precision(info: RunInfo) -> str:
    used = info.precision["used"]
    if used not in (FLOAT32, BFLOAT16):
        raise ValueError(f"unknown precision {used!r}")
    return FLOAT32 if used == FLOAT32 else BFLOAT16


def _header(file: Path) -> dict[str, tuple[str, list[int]]]:
    """Return type and shape of each tensor in a file, of which nothing else is read."""
    size = file.stat().st_size
    with _opened(file) as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(size, (1 << 18) + size // 16):
            raise DamageError(f"{file.name} begins with {length} bytes about its tensors")
        found = json.loads(opened.read(length))
    return {name: (str(about["dtype"]), list(about["shape"])) for name, about in found.items()
            if name != "__metadata__"}  # fmt: skip


def _load_tensors(file: Path, names: list[str]) -> dict[str, torch.Tensor]:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        # safetensors opens no file whose path is no text.
        everything = load(file.read_bytes())
        return {name: everything[name] for name in names}
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in names}


def labels_fit(manifest: pd.DataFrame, info: RunInfo) -> dict[str, int]:
    """Return E, K and C of a manifest; DamageError: a label is no class of the run."""
    labels = set(manifest["label"])
    if not labels <= set(info.classes):
        raise DamageError("manifest.csv has a label that is no class of the run")
    return {"E": len(manifest), "K": len(info.classes), "C": len(labels)}


def score_count(gallery: dict[str, torch.Tensor]) -> int:
    """Return S: in how many ways a run tells what is new."""
    return 2 if {"novelty.looks.mean", "appearance"} & set(gallery) else 1
