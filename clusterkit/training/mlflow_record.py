"""A record of `fit` with MLflow: settings, metrics and losses; no image, no path and no person."""

import logging
import numbers
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusterkit.errors import ConfigError, OutputError, without_user
from clusterkit.formats.run import Run
from clusterkit.output import check_writable

log = logging.getLogger("clusterkit")

# Of all fits.
_EXPERIMENT = "clusterkit"

_OPTION = "--mlflow DIR|URI"

# Metrics that MLflow takes in one call.
_AT_ONCE = 1000

# How files and columns are called may tell whose they are.
_UNRECORDED = ("data", "mlflow")


class NoMlflowRecord:
    """The record of a fit of which nobody wants one."""

    def write(self, run: Run) -> None:
        """Do nothing."""


class MlflowRecord(NoMlflowRecord):
    """A place that takes the record of a fit; it is opened before anything is learned.

    Parameters
    ----------
    target : str
        A folder, or an address that MLflow knows (``http://``, ``sqlite:///``, …).

    Raises
    ------
    ConfigError
        MLflow is not installed, or the target is empty.
    OutputError
        The place cannot be used.
    """

    def __init__(self, target: str) -> None:
        self.shown = without_user(target)
        if not target.strip():
            raise ConfigError(f"{_OPTION} is empty; give a folder or an address")
        if "://" not in target:
            check_writable(Path(target), _OPTION, folder=True)
            target = Path(target).absolute().as_uri()
        _say_nothing_to_others()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from mlflow import MlflowClient

                self.client = MlflowClient(target)
                self.experiment = _experiment(self.client)
        except ImportError as error:
            # sqlite:// takes the whole of MLflow.
            package = "clusterkit[mlflow]" if (error.name or "mlflow") == "mlflow" else "mlflow"
            raise ConfigError(f"{_OPTION} needs {error.name or 'mlflow'}, which is not installed; "
                              f"pip install '{package}', or leave it out") from error  # fmt: skip
        except Exception as error:
            raise OutputError(
                f"no MLflow record can be written to {self.shown}: {self._reason(error)}; give "
                f"another {_OPTION}"
            ) from error

    def write(self, run: Run) -> None:
        """Write the record; what goes wrong is a warning, for the run is there already."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._write(run)
        except Exception as error:
            log.warning("the run is written, and its MLflow record in %s is not, or not whole: %s",
                        self.shown, self._reason(error))  # fmt: skip

    def _write(self, run: Run) -> None:
        from mlflow.entities import Metric, Param

        info, now = run.info, int(time.time() * 1000)
        tags = {"clusterkit.run": info.id, "clusterkit.version": info.versions["clusterkit"],
                "torch.version": info.versions["torch"]}  # fmt: skip
        # Not `mlflow.start_run`: it would add who has run what from where.
        record = self.client.create_run(self.experiment, run_name=info.id, tags=tags).info.run_id
        params = [Param(key, value) for key, value in recorded_settings(run).items()]
        metrics = [Metric(key, value, now, step) for key, value, step in recorded_metrics(run)]
        self.client.log_batch(record, params=params)
        for start in range(0, len(metrics), _AT_ONCE):
            self.client.log_batch(record, metrics=metrics[start : start + _AT_ONCE])
        self.client.set_terminated(record, "FINISHED")

    def _reason(self, error: Exception) -> str:
        """Return what MLflow says, in one line of at most 200 characters and without passwords."""
        said = " ".join(str(error).split()).partition(" (Caused by")[0]
        return f"{type(error).__name__}: {without_user(said)}"[:200]


def open_record(target: str | None) -> NoMlflowRecord:
    """Open the place of `train.mlflow`; see `MlflowRecord`. None: nobody wants a record."""
    return NoMlflowRecord() if target is None else MlflowRecord(target)


def recorded_settings(run: Run) -> dict[str, str]:
    """Return settings and decisions by name, as texts; those of the data are left out."""
    info = run.info
    found = {
        "backbone": info.backbone, "weights": info.weights, "strategy": info.strategy,
        "folds": info.folds, "classes": len(info.classes), "images": info.data.images,
        "units": info.data.units, "unlabelled": info.data.unlabelled,
        "precision": info.precision.get("used"), "views": info.decisions.views,
        "inputs": info.decisions.inputs,
    }  # fmt: skip
    for name, value in info.config.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": one for key, one in value.items() if key not in _UNRECORDED}
        else:
            found[name] = value
    return {
        # Where a network lies on this machine is nobody's business.
        name: re.sub("local-dir:[^+]*/", "local-dir:", str(value))
        for name, value in found.items()
        if value is not None
        and name.partition(".")[0] not in _UNRECORDED
        # Weights may be a file of this machine.
        and name != "model.weights"
    }


def recorded_metrics(run: Run) -> Iterator[tuple[str, float, int]]:
    """Yield (name, value, step): each figure of the run, and each loss at its epoch."""
    for name, value in run.info.metrics.items():
        if isinstance(value, dict):
            yield from ((_allowed(f"{name}.{key}"), float(one), 0)
                        for key, one in value.items() if _is_number(one))  # fmt: skip
        elif _is_number(value):
            yield name, float(value), 0
    for row in run.history.to_dict("records"):
        for key in ("train_loss", "valid_loss", "valid_accuracy"):
            if _is_number(row[key]) and row[key] == row[key]:
                yield f"{row['stage']}/fold {row['fold']}/{key}", float(row[key]), int(row["epoch"])


def _allowed(name: str) -> str:
    """Return a name with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "-", name)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _experiment(client: Any) -> str:
    known = client.get_experiment_by_name(_EXPERIMENT)
    return client.create_experiment(_EXPERIMENT) if known is None else known.experiment_id


def _say_nothing_to_others() -> None:
    # MLflow counts its users over the network, unless it is told before it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # It takes folders only from who insists.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    # By itself it tries for minutes to reach a server that is not there, before and after a fit.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
