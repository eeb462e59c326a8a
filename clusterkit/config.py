"""The one configuration tree: defaults here, read from TOML, saved with every run."""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clusterkit.errors import ConfigError, nearest_name


@dataclass
class DataConfig:
    """Where the labelled images are and how their labels are read.

    For DICOM: `label_tag` is the element that holds the label, `keep_tags` are elements whose
    values may be written to runs and tables, and `key_file` holds the key by which patient ids
    are hashed (see `data.patients`).
    """

    source: str | None = None
    images: str | None = None
    unlabeled: str | None = None
    label_pattern: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    group_column: str = "group"
    label_tag: str | None = None
    keep_tags: list = field(default_factory=list)
    key_file: str | None = None
    max_classes: int = 1000


@dataclass
class ImageConfig:
    """The array that every image becomes: size in pixels, and how its shape is changed.

    `window` is for grey values deeper than 8 bits, and DICOM: [centre, width], or the name of a
    preset of `data.greys`; ``auto``: the file's own window, else its own range, from the lowest to
    the highest of `percentiles`. `frames` of a file with several (DICOM, TIFF): all, the middle
    one, or so many, evenly spaced.
    """

    size: int = 224
    resize: Literal["squish", "crop", "pad"] = "squish"
    window: str | list = "auto"
    percentiles: list = field(default_factory=lambda: [0, 100])
    frames: str | int = "all"


@dataclass
class AugmentConfig:
    """What training may do to an image without changing its label.

    Flips and warps are off until the config allows them: left and right, or up and
    down, can be the diagnosis. `views` is about heads on cached features, which learn from
    mirror images too: with ``auto`` where held-out labels are then predicted better.
    """

    views: Literal["auto", "allowed"] = "auto"
    flip_horizontal: bool = False
    flip_vertical: bool = False
    max_rotate: float = 0.0
    max_zoom: float = 1.1
    max_lighting: float = 0.1
    max_warp: float = 0.0


@dataclass
class ModelConfig:
    """The backbone, where its weights come from, and whether both models share it.

    `precision` is that of the encoder where images are embedded: ``auto`` takes bfloat16 where the
    processor is quick in it and the labels come out the same.
    """

    backbone: str = "resnet34"
    weights: str = "auto"
    encoder: Literal["shared", "separate"] = "shared"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


@dataclass
class TrainConfig:
    """How the two models learn.

    `pool` is the most unlabelled images that are learned from, `self_training` the most rounds.
    `cache_mb` is how many mebibytes of decoded training images stay in memory; more of them go
    to a temporary file (a 224-pixel image takes 0.14).

    `lr` is fastai's: the maximum of a one-cycle schedule. `C` is scikit-learn's: the inverse
    strength of the penalty on the linear classifier that the strategy ``head`` fits.
    """

    strategy: Literal["auto", "head", "finetune"] = "auto"
    epochs: int | None = None
    siamese_epochs: int | None = None
    batch_size: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    C: float = 0.02
    folds: int | None = None
    valid_fraction: float = 0.2
    pool: int = 5000
    self_training: int = 3
    cache_mb: int = 2048


@dataclass
class EngineConfig:
    """From evidence to a label (gate, exemplars, clusters).

    `max_exemplars` is a class's; `label_shift` lets a batch have its own class proportions.
    """

    gate_mass: float = 0.95
    gate_max: int = 5
    pool_top: int = 5
    max_exemplars: int = 200
    label_shift: bool = True
    novelty_alpha: float = 0.1
    min_cluster_size: int = 5


@dataclass
class AssignConfig:
    """The promise and the batch.

    `per_class` makes the promise for each assigned class, all at once. `batch_size` and `workers`
    (processes) are chosen by the device where they are none.
    """

    max_error: float | None = 0.05
    confidence: float = 0.9
    per_class: bool = False
    batch_size: int | None = None
    workers: int | None = None


@dataclass
class AuditConfig:
    """What the audit page shows."""

    limit: int = 200
    method: Literal["cam", "gradcam"] = "cam"


@dataclass
class Config:
    """Everything that decides what `fit`, `assign` and `audit` do."""

    seed: int = 0
    device: str = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    assign: AssignConfig = field(default_factory=AssignConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as nested dicts of plain values (JSON and TOML know them all)."""
        return dataclasses.asdict(self)


# Centre and width of a grey window in Hounsfield units, as radiology's consoles offer them.
PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (40, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "mediastinum": (40, 400),
    "stroke": (40, 40),
    "subdural": (75, 215),
}

# Lowest and highest value allowed, both included.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "data.max_classes": (2, 100_000),
    "image.size": (32, 4096),
    "augment.max_rotate": (0, 180),
    "augment.max_zoom": (1, 3),
    "augment.max_lighting": (0, 0.9),
    "augment.max_warp": (0, 0.9),
    "train.epochs": (1, 10_000),
    "train.siamese_epochs": (1, 10_000),
    "train.batch_size": (2, 4096),
    "train.lr": (1e-8, 10),
    "train.weight_decay": (0, 10),
    "train.label_smoothing": (0, 0.5),
    "train.C": (1e-6, 1e4),
    "train.folds": (1, 20),
    "train.valid_fraction": (0.05, 0.5),
    "train.pool": (0, 1_000_000),
    "train.self_training": (0, 100),
    "train.cache_mb": (0, 10_000_000),
    "engine.gate_mass": (0.01, 1),
    "engine.gate_max": (1, 100_000),
    "engine.pool_top": (1, 1000),
    "engine.max_exemplars": (1, 1_000_000),
    "engine.novelty_alpha": (0, 1),
    "engine.min_cluster_size": (2, 100_000),
    "assign.max_error": (1e-6, 0.999999),
    "assign.confidence": (0.5, 0.999999),
    "assign.batch_size": (1, 4096),
    "assign.workers": (0, 256),
    "audit.limit": (1, 1_000_000),
}


def _window(value: str | list) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(_number(v) for v in value)
    return value in ("auto", *PRESETS) if isinstance(value, str) else numbers and value[1] > 0


def _percentiles(value: list) -> bool:
    return len(value) == 2 and all(_number(v) for v in value) and 0 <= value[0] < value[1] <= 100


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


# What a range cannot say: a check, and what is allowed in words.
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "image.window": (_window, "auto, [centre, width] with a width above 0, or a preset: "
                     + ", ".join(PRESETS)),
    "image.percentiles": (_percentiles, "[low, high], two numbers rising from 0 to 100"),
    "image.frames": (lambda v: v in ("all", "middle") if isinstance(v, str) else 1 <= v <= 100_000,
                     "all, middle, or how many, at least 1"),
    "data.keep_tags": (lambda v: all(isinstance(t, str) and t for t in v) and
                       len(set(v)) == len(v),
                       "a list of different keywords or tags, e.g. ['PatientAge']"),
}  # fmt: skip

# What to do about a value out of range, where it is not plain.
_HINTS = {
    "assign.max_error": "; 0.05 is 5%; no number of labels can promise that none is wrong, and "
    "'none' promises nothing and assigns everything",
    "assign.confidence": "; 0.9 is 90%",
}


def load_config(path: Path | str | None = None) -> Config:
    """Read a TOML file over the defaults.

    Parameters
    ----------
    path : path or None
        None takes ``./clusterkit.toml`` if there is one, else the defaults alone.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, or a key or value is not allowed.
    """
    if path is None:
        path = Path("clusterkit.toml")
        if not path.is_file():
            return Config()
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read config {path}: {reason}; check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config {path} is not valid TOML: {error}") from error
    return config_from_dict(values, where=str(path))


def config_from_dict(values: dict[str, Any], where: str = "config") -> Config:
    """Build a checked `Config` from nested dicts; keys that are left out keep their defaults.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest known one is named), or a value is of the wrong
        type or out of range.

    >>> config_from_dict({"image": {"size": 96}}).image.size
    96
    >>> config_from_dict({"image": {"sizes": 96}})
    Traceback (most recent call last):
    ...
    clusterkit.errors.ConfigError: config: unknown key 'image.sizes' (did you mean 'size'?); ...
    """
    return _build(Config, values, where, "")


def override(config: Config, **values: Any) -> Config:
    """Return a copy with dotted keys replaced (``model__size=96``); None leaves a key alone.

    >>> override(Config(), image__size=96, seed=None).image.size
    96
    """
    tree = config.to_dict()
    for name, value in values.items():
        if value is None:
            continue
        *sections, key = name.split("__")
        node = tree
        for section in sections:
            node = node[section]
        node[key] = value
    return config_from_dict(tree, where="option")


def _build(cls: type, values: dict[str, Any], where: str, prefix: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key '{prefix}{key}'{nearest_name(key, known)}; "
                f"allowed: {', '.join(known)}"
            )
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: [{prefix}{key}] must be a table, not {value!r}")
            arguments[key] = _build(hint, value, where, f"{prefix}{key}.")
        else:
            arguments[key] = _checked(hint, value, where, f"{prefix}{key}")
    return cls(**arguments)


def _checked(hint: Any, value: Any, where: str, key: str) -> Any:
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ConfigError(f"{where}: {key} = {value!r}; allowed: {', '.join(allowed)}")
        return value
    # TOML has no null, so "none" is how a file switches an optional value off.
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and (value is None or value == "none"):
        return None
    kinds = tuple(option for option in options if option is not type(None))
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"{where}: {key} = {value!r} must be of type {names}")
    if key in _CHECKS:
        allowed, words = _CHECKS[key]
        if not allowed(value):
            raise ConfigError(f"{where}: {key} = {value!r} must be {words}")
    if key in _RANGES:
        low, high = _RANGES[key]
        if not low <= value <= high:
            hint = _HINTS.get(key, "")
            raise ConfigError(
                f"{where}: {key} = {value!r} must be between {low:g} and {high:g}{hint}"
            )
    return value
