"""The test of a finished run: images that nothing was learned from, labelled as `assign` does."""

import copy
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.features.vector_lookup import GivenVectors
from clusterkit.data.frames import files_of, names_of
from clusterkit.data.labelled import named_with_cluster
from clusterkit.data.loading import image_refs
from clusterkit.data.splits import units_of
from clusterkit.formats.run import Run
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.predictor import Predictor
from clusterkit.inference.rows import build_table, group_names
from clusterkit.inference.transduce import transduce
from clusterkit.inference.workers import batch_size_of, compute
from clusterkit.methods.proportions import share_interval
from clusterkit.models.networks import choose_device
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

_LEVEL = 0.95


def with_test(
    run: Run,
    test: pd.DataFrame,
    config: Config,
    progress: Progress,
    features: FeatureTable | None = None,
) -> Run:
    """Return a run with the figures of its test images in `run.info.metrics["test"]`.

    Parameters
    ----------
    run : Run
        With its final models; not changed.
    test : DataFrame
        Labelled rows of a manifest, with `provenance`; see `take_out_test`. Without rows the run
        is returned as it is.
    config : Config
        With a device that is there.
    progress : callable
        Called with ("test", done, total) in images.
    features : FeatureTable or None
        That of a run on given features; `test` then has their rows in it as `vector`.
    """
    if not len(test):
        return run
    figures = measure_test(run, test, config, progress, features)
    return replace(run, info=replace(run.info, metrics=run.info.metrics | {"test": figures}))


def measure_test(
    run: Run,
    test: pd.DataFrame,
    config: Config,
    progress: Progress,
    features: FeatureTable | None = None,
) -> dict[str, Any]:
    """Label test images as `assign` would, all as one batch, and count what is right.

    Parameters
    ----------
    run, test, config, progress, features
        See `with_test`.

    Returns
    -------
    dict
        images and groups that were counted; accuracy of the predicted label, and the interval of
        `share_interval` at `interval_level`; None without images. right; assigned, how many
        `assign` would at `max_error`, and assigned_wrong; unknown_classes, labels that no training
        image has, which count as wrong; left_out, numbers by reason.
    """
    why = _reasons_to_leave_out(run, test)
    rows, table = test, pd.DataFrame()
    if (why == "").any():
        rows = test[why == ""].reset_index(drop=True)
        table = _label(run, rows, config, progress, features)
        found = np.where(table["duplicate_of"] != "", "near duplicates of labelled images", "")
        found = np.where(table["status"] == "failed", "unreadable", found)
        why[why == ""], table = found, table[found == ""]
        rows = rows[found == ""]
    else:
        rows = test[:0]
    _warn(test, why)
    return _figures(run, rows, table, config) | {
        "left_out": {reason: int((why == reason).sum()) for reason in sorted(set(why) - {""})}
    }


def _reasons_to_leave_out(run: Run, test: pd.DataFrame) -> np.ndarray:
    """Return why each test image (N,) tells nothing of images that are new; "": it does."""
    learned = run.manifest
    groups = set(learned["group"].dropna()) - {""}
    why = np.full(len(test), "", dtype=object)
    # Whoever named the cluster may not have seen each image of it.
    named = named_with_cluster(test)
    why[named] = "labelled by their cluster alone"
    why[test["group"].isin(groups).to_numpy()] = "of groups that were learned from"
    same = files_of(test["image_id"]).isin(files_of(learned["image_id"])).to_numpy()
    why[same] = "the same files as labelled images"
    return why


def _label(
    run: Run,
    rows: pd.DataFrame,
    config: Config,
    progress: Progress,
    features: FeatureTable | None,
) -> pd.DataFrame:
    """Return the rows of the contract that `assign` would write."""
    # A device or a precision of its own must not stay with the run, which is not written yet.
    own = replace(run, networks=copy.deepcopy(run.networks))
    size = batch_size_of(config, choose_device(config.device))
    refs, parts = image_refs(rows), {}
    given = None if features is None else GivenVectors(features, rows["vector"].to_numpy(int))
    workers = config.assign.workers
    for number, evidence in compute(Predictor(own, config), refs, size, (), workers, given):
        parts[number] = evidence
        progress("test", min(len(parts) * size, len(refs)), len(refs))
    joined = {name: np.concatenate([parts[i][name] for i in sorted(parts)]) for name in parts[0]}
    inputs = rows[["image", "path", "group", "frame"]]
    found = transduce(own, config, Evidence(joined), group_names(inputs))
    rule = DecisionRule.of(own, config, found.evidence, found.calibration)
    return build_table(inputs, found.evidence, rule)


def _figures(run: Run, rows: pd.DataFrame, table: pd.DataFrame, config: Config) -> dict[str, Any]:
    unknown = sorted(set(rows["label"]) - set(run.classes))
    if unknown:
        n = int(rows["label"].isin(unknown).sum())
        log.warning("%d test images are of classes that no training image has, e.g. '%s': they "
                    "count as wrong", n, unknown[0])  # fmt: skip
    values: dict[str, Any] = {"images": len(rows), "groups": 0, "accuracy": None}
    values |= {"interval": None, "interval_level": _LEVEL, "right": 0, "assigned": 0}
    values |= {"assigned_wrong": 0, "max_error": config.assign.max_error}
    values["unknown_classes"] = unknown
    if len(rows):
        units = units_of(rows)
        right = table["predicted_label"].to_numpy() == rows["label"].to_numpy()
        assigned = (table["status"] == "assigned").to_numpy()
        values |= {
            "groups": len(np.unique(units)),
            "accuracy": float(right.mean()),
            "interval": list(share_interval(right, units, _LEVEL)),
            "right": int(right.sum()),
            "assigned": int(assigned.sum()),
            "assigned_wrong": int((assigned & ~right).sum()),
        }
    return values


def _warn(test: pd.DataFrame, why: np.ndarray) -> None:
    left_out = why != ""
    if left_out.any():
        first = np.flatnonzero(left_out)[0]
        log.warning("%d of %d test images are not counted, e.g. '%s': %s", left_out.sum(),
                    len(test), names_of(test)[first], why[first])  # fmt: skip
