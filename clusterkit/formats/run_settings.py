"""Settings for the use of a run: a caller's, but for those that its calibration rests on.

Probabilities, thresholds and promises of a run were measured on held-out images that were read,
encoded and compared with the run's own settings. They hold for no others.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusterkit.config import Config, lay_over, settings
from clusterkit.config_fields import plain

log = logging.getLogger("clusterkit")

_OF_ENGINE = ("pool_top", "gate_mass", "gate_max", "max_exemplars")
_WEIGHTS = "model.weights"


def calibrated_keys() -> list[str]:
    """Return the keys that a run's calibration rests on: images, models, gate and exemplars."""
    engine = tuple(f"engine.{name}" for name in _OF_ENGINE)
    keys = [setting.key for setting in settings()]
    return [key for key in keys if key.startswith(("image.", "model.")) or key in engine]


def laid_over_keys(values: dict[str, Any]) -> list[str]:
    """Return the keys of a file (nested dicts) that count for the use of a run."""
    keys = [setting.key for setting in settings()]
    calibrated = calibrated_keys()
    return [key for key in keys if _holds(values, key) and key not in calibrated]


def with_file(fitted: Config, values: dict[str, Any], where: str) -> Config:
    """Lay a file's keys over the settings of a run; calibrated ones stay the run's.

    A file that sets a calibrated key to another value is named in one warning.

    Parameters
    ----------
    fitted : Config
        The run's.
    values : dict
        What the file holds, as nested dicts.
    where : str
        The file.

    Raises
    ------
    ConfigError
        A key or value of the file is not allowed.
    """
    config = lay_over(fitted, values, where)
    held = [key for key in calibrated_keys() if _holds(values, key)]
    _warn_of_ignored(fitted, config, held, where)
    return _with_calibrated(fitted, config)


def with_config(fitted: Config, config: Config | None) -> Config:
    """Return a caller's settings with the calibrated ones of a run; None: all are the run's.

    A config does not know which of its values somebody chose: those that are neither the run's
    nor the default are named in one warning.
    """
    if config is None:
        return fitted
    default = Config()
    chosen = [k for k in calibrated_keys() if _value(config, k) != _value(default, k)]
    _warn_of_ignored(fitted, config, chosen, "config")
    return _with_calibrated(fitted, config)


def _with_calibrated(fitted: Config, config: Config) -> Config:
    engine = replace(config.engine, **{name: getattr(fitted.engine, name) for name in _OF_ENGINE})
    return replace(config, image=fitted.image, model=fitted.model, engine=engine)


def _warn_of_ignored(fitted: Config, config: Config, keys: Iterable[str], where: str) -> None:
    ignored = [
        f"{key} = {plain(_value(config, key))} (the run's: {plain(_value(fitted, key))})"
        for key in keys
        if _value(config, key) != _value(fitted, key)
    ]
    if ignored:
        log.warning("%s: not used: %s; the run was measured with its own, run `clusterkit fit` "
                    "again to change that", where, ", ".join(ignored))  # fmt: skip


def _value(config: Config, key: str) -> Any:
    section, name = key.split(".")
    value = getattr(getattr(config, section), name)
    # A run keeps the name of a file of weights, and not where it was.
    return Path(value).name if key == _WEIGHTS else value


def _holds(values: dict[str, Any], key: str) -> bool:
    section, _, name = key.rpartition(".")
    return name in (values.get(section, {}) if section else values)
