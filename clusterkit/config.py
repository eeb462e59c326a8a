"""The one configuration tree: defaults here, read from TOML, saved with every run."""

import copy
import dataclasses
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from clusterkit.config_data import DataConfig, separator_character
from clusterkit.config_fields import Doc, Range, Setting, build, describe
from clusterkit.config_sections import (
    PRESETS,
    AssignConfig,
    AuditConfig,
    AugmentConfig,
    EngineConfig,
    ImageConfig,
    ModelConfig,
    TrainConfig,
)
from clusterkit.errors import ConfigError

__all__ = [
    "PRESETS", "AssignConfig", "AuditConfig", "AugmentConfig", "Config", "DataConfig",
    "EngineConfig", "ImageConfig", "ModelConfig", "Setting", "TrainConfig", "config_from_dict",
    "default_file", "lay_over", "load_config", "override", "read_toml", "separator_character",
    "settings",
]  # fmt: skip


@dataclass
class Config:
    """Everything that decides what `fit`, `assign` and `audit` do."""

    seed: Annotated[int, Range(0, 2**32 - 1), Doc("Same seed and data: same result.")] = 0
    device: Annotated[str, Doc("cpu, cuda, cuda:N or mps; auto: cuda, then mps, then cpu.")] = (
        "auto"
    )
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


def settings() -> list[Setting]:
    """Return every setting with its type, default, what is allowed, and a line of help.

    >>> next(s for s in settings() if s.key == "image.size").allowed
    '32 to 4096'
    """
    return list(describe(Config))


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
    path = path or default_file()
    return Config() if path is None else config_from_dict(read_toml(path), where=str(path))


def default_file() -> Path | None:
    """Return ``./clusterkit.toml``, if there is anything of that name."""
    path = Path("clusterkit.toml")
    # What cannot be read is an error later, and no reason to go on with other settings.
    return path if os.path.lexists(path) else None


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read the keys that a TOML file holds, unchecked.

    Raises
    ------
    ConfigError
        The file is missing, cannot be read, or is not TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read config {path}: {reason}; check the path") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"config {path} is not valid TOML: {error}") from error


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
    return build(Config, values, where)


def lay_over(config: Config, values: dict[str, Any], where: str = "config") -> Config:
    """Return a copy with the keys of nested dicts replaced, and all others kept.

    Raises
    ------
    ConfigError
        As `config_from_dict`.

    >>> lay_over(Config(seed=3), {"image": {"size": 96}}).seed
    3
    """
    # Of the keys alone first: what the message names must be what the file holds.
    config_from_dict(values, where)
    tree = copy.deepcopy(config.to_dict())
    for key, value in values.items():
        if isinstance(value, dict):
            tree[key] |= value
        else:
            tree[key] = value
    return config_from_dict(tree, where)


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
