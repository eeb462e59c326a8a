"""All plots of an audit, each with a caption that says in words and numbers what it shows."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clusterkit.auditing.batch import AuditBatch
from clusterkit.auditing.plotting.accuracy import accuracy_by, accuracy_plot, accuracy_words
from clusterkit.auditing.plotting.embedding import embedding_map
from clusterkit.auditing.plotting.plots import (
    class_counts_plot,
    confusion_plot,
    reliability_plot,
    risk_coverage_plot,
)
from clusterkit.formats.atomic import final_name, is_abandoned
from clusterkit.formats.run import Run
from clusterkit.methods.calibration import Calibration

# What audits have drawn into plots/: SVG now, and PNG before.
_PLOT = re.compile(
    r"(confusion|accuracy-by-(class|group)|risk-coverage|reliability|class-counts|map)\.(svg|png)"
)


def draw_plots(
    run: Run,
    calibration: Calibration,
    batch: AuditBatch,
    out: Path,
    features: dict[int, torch.Tensor] | None = None,
) -> list[tuple[str, str]]:
    """Draw the plots into ``out/plots``.

    Parameters
    ----------
    run : Run
    calibration : Calibration
        The run's.
    batch : AuditBatch
    out : Path
    features : dict or None
        Position in the batch's table → pooled Siamese features (D,): the images on the map
        (`CardDrawer.features`). None: the labelled ones alone.

    Returns
    -------
    list of (path relative to `out`, caption). The first answers a reader's first question: how
    often labels are right, by kind. A caption holds the numbers of its plot, for those who hear
    it.
    """
    (out / "plots").mkdir(parents=True, exist_ok=True)
    # A threshold is one on confidence as this batch's proportions make it.
    shares = batch.shares(run.classes)
    lapsed = calibration.lapsed()
    shifted = lapsed if shares is None else lapsed.with_prior(shares)
    confidence, right = shifted.confidence, shifted.correct
    transduced = batch.record.transduction
    if transduced.used and len(transduced.confidence) == len(transduced.right):
        # As this batch's neighbours left them.
        confidence, right = np.array(transduced.confidence), np.array(transduced.right, dtype=bool)
    by_class, by_group = accuracy_tables(run, calibration)
    return [
        _by_key(by_class, "class", out),
        _confusion(run, calibration, out),
        *([_by_key(by_group, "group", out)] if len(by_group) else []),
        _risk(confidence, right, batch, out),
        _reliability(confidence, right, out),
        _map(run, batch, features or {}, (by_class, by_group), out),
        _counts(run, batch, out),
    ]


def remove_other_plots(out: Path, plots: list[tuple[str, str]]) -> None:
    """Remove plots of earlier audits below `out` that are none of `plots`, and nothing else."""
    kept = {path for path, _ in plots}
    for old in (out / "plots").iterdir():
        ours = _PLOT.fullmatch(final_name(old.name)) and old.is_file() and not old.is_symlink()
        left = final_name(old.name) == old.name or is_abandoned(old)
        if ours and left and f"plots/{old.name}" not in kept:
            old.unlink(missing_ok=True)


def accuracy_tables(run: Run, calibration: Calibration) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the accuracy on held-out images by class and by group; see `accuracy_by`."""
    labels = np.array(run.classes, dtype=object)[calibration.labels]
    groups = run.manifest["group"].iloc[calibration.rows]
    return accuracy_by(labels, calibration.correct), accuracy_by(groups, calibration.correct)


def _confusion(run: Run, calibration: Calibration, out: Path) -> tuple[str, str]:
    k = len(run.classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (calibration.labels, calibration.predicted), 1)
    confusion_plot(counts, run.classes, out / "plots" / "confusion.svg")
    wrong = counts - np.diag(np.diag(counts))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = ""
    if wrong.any():
        worst = (f" The most frequent error: {run.classes[row]} taken for {run.classes[column]}, "
                 f"{wrong[row, column]:,} of {counts[row].sum():,}.")  # fmt: skip
    return "plots/confusion.svg", (
        f"Held-out images, true class against predicted class: {np.trace(counts):,} of "
        f"{counts.sum():,} are right.{worst}"
    )


def _by_key(table: pd.DataFrame, what: str, out: Path) -> tuple[str, str]:
    path = f"plots/accuracy-by-{what}.svg"
    accuracy_plot(table, out / path, what)
    return path, (
        f"Held-out images: how often the predicted class was the true one, by {what}, the worst "
        f"first, with 95% Wilson intervals as if images were independent. "
        f"{accuracy_words(table, what)}"
    )


def _risk(
    confidence: np.ndarray, correct: np.ndarray, batch: AuditBatch, out: Path
) -> tuple[str, str]:
    threshold, max_error = batch.threshold, batch.max_error
    risk_coverage_plot(confidence, correct, out / "plots" / "risk-coverage.svg", threshold,
                       max_error)  # fmt: skip
    text = "Held-out images: how many labels are wrong if only the most confident are assigned."
    if threshold is not None and len(confidence):
        taken = confidence >= threshold
        wrong = int((~correct[taken]).sum())
        text += (f" From the threshold {threshold:.4f} on: {wrong:,} of {taken.sum():,} wrong, "
                 f"{taken.mean():.0%} of the images labelled.")  # fmt: skip
    elif len(confidence):
        text += f" With all labelled: {(~correct).sum():,} of {len(correct):,} wrong."
    if max_error is not None:
        kept = "Asked for" if threshold is None else "Promised"
        text += f" {kept} is at most {100 * max_error:.3g}%."
    return "plots/risk-coverage.svg", text


def _reliability(confidence: np.ndarray, correct: np.ndarray, out: Path) -> tuple[str, str]:
    reliability_plot(confidence, correct, out / "plots" / "reliability.svg")
    text = "Held-out images: confidence against how often it was right, with 95% Wilson intervals."
    if len(confidence):
        text += (f" {correct.sum():,} of {len(correct):,} are right; by the confidences "
                 f"{confidence.sum():,.0f} should be.")  # fmt: skip
    return "plots/reliability.svg", text


def _counts(run: Run, batch: AuditBatch, out: Path) -> tuple[str, str]:
    labelled = run.manifest["label"].value_counts().reindex(run.classes, fill_value=0)
    readable = batch.table[["predicted_label", "status"]]
    readable = readable[readable["predicted_label"] != ""]
    now = pd.crosstab(readable["predicted_label"], readable["status"])
    class_counts_plot(labelled, now, out / "plots" / "class-counts.svg")
    given = now.reindex(columns=["assigned", "reviewed", "duplicate"], fill_value=0).sum(axis=1)
    # Ten classes are a sentence; of a hundred it would be a wall of numbers.
    shown = list(labelled.sort_values(ascending=False, kind="stable").index[:10])
    parts = [f"{name} {labelled[name]:,} and {given.get(name, 0):,}" for name in shown]
    largest = f"The {len(shown)} largest of {len(labelled):,} classes" if len(
        labelled) > len(shown) else "By class"  # fmt: skip
    return "plots/class-counts.svg", (
        "Labelled images of each class before, beside this batch's images that are predicted to "
        f"be of it. {largest}, labelled before and labelled now: {', '.join(parts)}."
    )


def _map(
    run: Run,
    batch: AuditBatch,
    features: dict[int, torch.Tensor],
    accuracy: tuple[pd.DataFrame, pd.DataFrame],
    out: Path,
) -> tuple[str, str]:
    labelled = run.gallery["features"].numpy()
    positions = sorted(features)
    rows = batch.table.iloc[positions]
    own = np.stack([features[i].numpy() for i in positions]) if positions else labelled[:0]
    text = embedding_map(
        labelled,
        run.manifest["label"].to_numpy(),
        own,
        rows["status"].to_numpy(),
        rows["predicted_label"].to_numpy(),
        out / "plots" / "map.svg",
    )
    by_class, by_group = accuracy
    text += f" Held-out accuracy, which uses all dimensions: {accuracy_words(by_class)}"
    if len(by_group):
        text += f" {accuracy_words(by_group, 'group', most=3)}"
    return "plots/map.svg", text
