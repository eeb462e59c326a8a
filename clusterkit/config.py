"""The one configuration tree: defaults here, read from TOML, saved with every run."""

import copy
import dataclasses
import inspect
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

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
from clusterkit.errors import ConfigError, nearest_name

__all__ = [
    "PRESETS", "AssignConfig", "AuditConfig", "AugmentConfig", "Config", "DataConfig",
    "EngineConfig", "ImageConfig", "ModelConfig", "Setting", "TrainConfig", "config_from_dict",
    "default_file", "lay_over", "load_config", "override", "read_toml", "separator_character",
    "setting_names", "settings", "takes_settings", "with_settings",
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
    except (ValueError, RecursionError) as error:
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


# Which settings a function takes as keywords, by section; "": seed and device.
_ALL = ("", "data", "image", "augment", "model", "train", "engine", "assign", "audit")
_TAKES = {
    "fit": _ALL,
    "assign": ("", "assign", "data"),
    "audit": ("", "audit"),
    "embed": ("", "data", "image", "model"),
    "inspect": ("", "data", "image", "model"),
    "similar": ("",),
    "similar_groups": ("", "data"),
}
# Where two sections have a setting of one name.
_FIRST = {"fit": "train"}


def setting_names(function: str) -> dict[str, str]:
    """Return the names by which a function takes settings as keywords, and the settings' keys.

    >>> setting_names("assign")["max_error"]
    'assign.max_error'
    """
    names: dict[str, str] = {}
    for setting in settings():
        section, _, name = setting.key.rpartition(".")
        if section in _TAKES[function] and (name not in names or section == _FIRST.get(function)):
            names[name] = setting.key
    return names


def with_settings(config: Config, given: dict[str, Any], function: str) -> Config:
    """Return a copy with the settings replaced that a function was given as keywords.

    Parameters
    ----------
    config : Config
    given : dict
        Values by the last part of their keys; None leaves a setting alone.
    function : {"fit", "assign", "audit", "embed", "inspect", "similar", "similar_groups"}

    Raises
    ------
    ConfigError
        The function takes no such setting, or the value is not allowed.

    >>> with_settings(Config(), {"max_error": 0.15}, "assign").assign.max_error
    0.15
    """
    names = setting_names(function)
    for name in given:
        if name not in names:
            near = nearest_name(name, names)
            raise ConfigError(f"{function} has no option '{name}'{near}; see help({function})")
    values = {names[name].replace(".", "__"): _plain(value) for name, value in given.items()}
    return override(config, **values) if given else config


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


_Function = TypeVar("_Function", bound=Callable[..., Any])


def takes_settings(function: _Function) -> _Function:
    """Show a function's settings in its signature, so that a notebook completes their names."""
    own = inspect.signature(function)
    kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {p.name for p in kept}
    shown = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in setting_names(function.__name__)
        if name not in taken
    ]
    function.__signature__ = own.replace(parameters=[*kept, *shown])  # type: ignore[attr-defined]
    return function
