"""Summary above the cards: figures of held-out images, facts and warnings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clusterkit.auditing.batch import AuditBatch, clusters_of
from clusterkit.auditing.card_words import ShownRecord
from clusterkit.auditing.checks import CamChecks
from clusterkit.auditing.page import Summary, Tile
from clusterkit.data.imageio.greys import describe
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.known_images import OPEN, clusters_fingerprint, open_members
from clusterkit.formats.run import Run
from clusterkit.formats.run_info import describe_test
from clusterkit.inference.ladder import ladder_notes, ladder_rows
from clusterkit.methods.calibration import Calibration


def measure(run: Run, calibration: Calibration) -> dict[str, Any]:
    """Return the content of `metrics.json`: all that is measured on held-out images.

    Parameters
    ----------
    run : Run
    calibration : Calibration
        The run's.

    Returns
    -------
    dict of `Calibration.metrics`, and: test, as in the run, if it has one; classes; confusion,
    (K, K) counts, rows true and columns predicted; risk_coverage, with confidence falling, the
    share accepted and the error among them, each in [0, 1].
    """
    k = len(run.classes)
    confusion = np.zeros((k, k), dtype=int)
    np.add.at(confusion, (calibration.labels, calibration.predicted), 1)
    order = np.argsort(-calibration.confidence, kind="stable")
    wrong = np.cumsum(~calibration.correct[order])
    n = len(order)
    test = run.info.metrics.get("test")
    return {
        **calibration.metrics(run.config.assign.confidence),
        **({"test": test} if test else {}),
        "classes": run.classes,
        "confusion": confusion.tolist(),
        "risk_coverage": {
            "confidence": calibration.lapsed().confidence[order].round(6).tolist(),
            "coverage": ((np.arange(n) + 1) / max(1, n)).round(6).tolist(),
            "error": (wrong / np.arange(1, n + 1)).round(6).tolist(),
        },
    }


def summarise(
    run: Run,
    batch: AuditBatch,
    chosen: np.ndarray,
    metrics: dict[str, Any],
    plots: list[tuple[str, str]],
    checks: CamChecks,
    notes: list[str],
    tiles: Mapping[int, list[Tile]],
) -> Summary:
    """Gather the page's `Summary`.

    Parameters
    ----------
    chosen : (n,) int
        Positions of the rows that have a card.
    metrics : dict
        Of `measure`.
    plots : list
        Of `overview.draw_plots`.
    checks : CamChecks
    notes : list of str
        Sentences that a reader should know first.
    tiles : dict
        Of `Tiles.draw`.
    """
    counts = batch.table["status"].value_counts()
    whole, clusters = clusters_fingerprint(batch.table), clusters_of(batch, chosen, tiles)
    # Rows of this page are about what its clusters show.
    partly = len(open_members(batch.table)) < int(batch.table["cluster"].notna().sum())
    return Summary(
        title="clusterkit audit",
        run=run.path.name,
        created=run.info.created,
        key=batch.key,
        fingerprint=whole + OPEN if partly else whole,
        fingerprint_before=whole if partly else "",
        grown_from=[name for one in batch.record.batches for name in one.clusters if name != whole],
        classes=_labels(run, batch),
        clusters=clusters,
        # Without a check nobody looks for what a check labelled.
        counts={s: int(counts.get(s, 0)) for s in STATUSES if s != "reviewed" or s in counts},
        promise=batch.promise,
        certificate="" if batch.certificate is None else batch.certificate.words,
        ladder=ladder_rows(batch.record) if batch.certificate is None else [],
        ladder_notes=ladder_notes(batch.record) if batch.certificate is None else [],
        threshold=batch.threshold,
        held_out=_held_out(run, batch, metrics),
        checks=checks.rows(),
        overlays=checks.overlays,
        record=shown_record(run, batch, metrics["held_out_images"]),
        plots=plots,
        facts=_facts(run),
        shown=len(chosen),
        total=len(batch.table),
        warnings=notes,
    )


def _labels(run: Run, batch: AuditBatch) -> list[str]:
    """Return the run's classes, then what else a person has answered."""
    table = batch.table
    answered = table["predicted_label"][table["status"] == "reviewed"]
    return list(dict.fromkeys([*run.classes, *sorted(answered.unique())]))


def shown_record(run: Run, batch: AuditBatch, held_out: int) -> ShownRecord:
    """Return what the percentages of the page and of a sheet rest on."""
    level = batch.record.confidence
    usable = level is not None and 0 < level < 1
    return ShownRecord(held_out, level if level is not None and usable
                       else run.config.assign.confidence)  # fmt: skip


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return (name, value) of the run's facts."""
    return [
        _encoder(run),
        ("Training", f"{run.info.strategy}: {run.info.strategy_reason}"),
        ("Image size", f"{run.info.size} px"),
        ("Deep greys", describe(run.config.image)),
        ("Labelled images", f"{run.info.data.images:,}"),
        ("Seed", str(run.info.seed)),
        ("Made", run.info.created),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run.info.versions.items())),
    ]


def _encoder(run: Run) -> tuple[str, str]:
    given = run.info.features
    if given is None:
        return "Backbone", f"{run.info.backbone} ({run.info.weights} weights)"
    files = "; ".join(f"{file.name}, SHA-256 {file.sha256}" for file in given.files[:3])
    return "Features", f"{given.dimension} numbers an image, given in {files}"


def _held_out(run: Run, batch: AuditBatch, metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, value, explanation) of the figures of held-out images."""
    seen, units = "", f"independent {batch.unit}s that these images come from"
    if metrics["within_groups"]:
        seen = ", but other images of the same groups: optimistic, and for these groups only"
        units = "images, or sets of copies: no whole group (patient) could be held out"
    record = shown_record(run, batch, metrics["held_out_images"])
    n = metrics["held_out_images"]
    right = round(metrics["accuracy"] * n)
    return [
        *_tested(metrics.get("test")),
        ("Accuracy", record.percent(metrics["accuracy"]) or "too few to say",
         f"{right} of {n} labelled images that the scoring models never saw" + seen),
        ("Held-out units", str(metrics["held_out_units"]), units),
        ("Right label compared", record.percent(metrics["gate_recall"]) or "too few to say",
         "how often the true class was among those compared (gate recall)"),
        ("Label sets", record.percent(metrics["label_set_coverage"]) or "too few to say",
         f"how often they hold the true class, with {metrics['label_set_size']:.1f} classes on "
         f"average; {run.config.assign.confidence:.0%} is asked for"
         + (", for these groups only" if metrics["within_groups"] else "")),
        ("Calibration error", _points(metrics["expected_calibration_error"]),
         "mean gap between how sure it was and how often it was right; among the surest fifteenth "
         f"{_points(metrics['top_calibration_error'])}"),
    ]  # fmt: skip


def _points(gap: float) -> str:
    points = round(100 * gap)
    return f"{points} of 100" if points else "below 1 of 100"


def _tested(test: Any) -> list[tuple[str, str, str]]:
    """Return the figure of the test images; none where the run has none, or it was edited."""
    try:
        accuracy, text = test["accuracy"], describe_test(test)
        value = "none" if accuracy is None else f"{accuracy:.1%}"
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return [("Test accuracy", value, f"split 'test', which nothing was learned from: {text}")]
