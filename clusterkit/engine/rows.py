"""From a batch's evidence to the rows of `assignments.csv`: status, label, reason."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.engine.calibrate import Calibration
from clusterkit.engine.cluster import cluster_refused, cluster_space
from clusterkit.engine.conformal import (
    benjamini_hochberg,
    label_sets,
    set_threshold,
)
from clusterkit.engine.guarantee import Promise
from clusterkit.engine.judge import Reduction
from clusterkit.engine.novelty import novelty_p_values
from clusterkit.engine.questions import order_questions
from clusterkit.engine.shift import apply_prior, estimate_prior
from clusterkit.engine.table import COLUMNS
from clusterkit.models.run import Run


@dataclass(frozen=True)
class Context:
    """What is the same for every row.

    Attributes
    ----------
    run : Run
    config : Config
    calibration : Calibration
        Under the batch's class proportions.
    prior : (K,) float
        Those proportions, as estimated; the labelled ones where `label_shift` is off.
    promise : Promise or None
        None: everything is assigned, nothing is promised.
    set_threshold : float
        Probability at which a class enters a label set.
    """

    run: Run
    config: Config
    calibration: Calibration
    prior: np.ndarray
    promise: Promise | None
    set_threshold: float

    @classmethod
    def of(cls, run: Run, config: Config, evidence: dict[str, np.ndarray]) -> "Context":
        """Choose the thresholds for what the config asks to promise, for one batch."""
        calibration = Calibration.from_dict(run.calibration)
        prior = calibration.prior
        if config.engine.label_shift:
            readable = evidence["probs"][evidence["errors"] == ""]
            prior = estimate_prior(readable.astype(float), prior, calibration.n_units)
        calibration = calibration.with_prior(prior)
        error, level = config.assign.max_error, config.assign.confidence
        promise = None if error is None else calibration.promise(error, level)
        entry = set_threshold(calibration.true_prob, level)
        return cls(run, config, calibration, prior, promise, entry)

    def probs(self, evidence: dict[str, np.ndarray]) -> np.ndarray:
        """Return the fused probabilities (N, K) under the batch's class proportions."""
        return apply_prior(evidence["probs"].astype(float), self.calibration.prior, self.prior)

    @property
    def promise_text(self) -> str:
        """The promise, or why there is none, in a sentence."""
        p = self.promise
        if p is None:
            return "Nothing is promised: every readable image was assigned, as asked for."
        percent = f"{100 * p.max_error:.3g}%"
        per = " (mean over groups)" if p.unit == "group" else ""
        if p.threshold is not None:
            return (
                f"At most {percent} of the assigned labels are wrong{per}, with "
                f"{100 * p.level:.3g}% confidence: {p.errors} of {p.accepted} held-out images "
                f"from {p.units} {p.unit}s were wrong at confidence {p.threshold:.4f} or above. "
                "Images of a class that nobody labelled are not covered."
            )
        if p.available < p.needed:
            return (
                f"Nothing could be assigned: labels from {p.available} {p.unit}s were held out, "
                f"and it takes at least {p.needed}, all labelled rightly, to promise at most "
                f"{percent} error. Label more {p.unit}s, or ask for a larger --max-error."
            )
        return (
            f"Nothing could be assigned: even the most confident {p.needed} of {p.available} "
            f"held-out {p.unit}s had too many errors to promise at most {percent}. "
            "Label more images, or ask for a larger --max-error."
        )


def build_table(
    inputs: pd.DataFrame, evidence: dict[str, np.ndarray], context: Context
) -> tuple[pd.DataFrame, dict | None]:
    """Turn evidence on N images into N rows of the contract.

    Parameters
    ----------
    inputs : DataFrame (N)
        image, path, group.
    evidence : dict of (N, …) arrays
        As `Engine.evidence` gives them.
    context : Context

    Returns
    -------
    DataFrame with the contract's columns, and the promise as a dict (None: none asked for).
    """
    run, classes = context.run, np.array(context.run.classes, dtype=object)
    n, failed = len(inputs), evidence["errors"] != ""
    probs = context.probs(evidence)
    rows, best = np.arange(n), probs.argmax(axis=1)
    first = evidence["classifier"].argmax(axis=1)
    fusion = context.calibration.fusion
    with np.errstate(over="ignore"):
        similarity = fusion.similarity(evidence["pooled"][rows, best])
        nearest_similarity = fusion.similarity(evidence["nearest_logit"])
    exemplars, nearest = run.manifest, evidence["nearest"]
    compared = nearest >= 0
    table = pd.DataFrame(
        {
            "image": inputs["image"].to_numpy(),
            "image_id": evidence["ids"],
            "predicted_label": classes[best],
            "confidence": probs[rows, best],
            "label_set": _joined(label_sets(probs, context.set_threshold), classes),
            "classifier_label": classes[first],
            "classifier_probability": evidence["classifier"][rows, first].astype(float),
            "similarity": np.where(compared, similarity, np.nan),
            "gate": _joined(evidence["gate"], classes),
            "nearest_image": np.where(compared, exemplars["image"].to_numpy()[nearest], ""),
            "nearest_label": np.where(compared, exemplars["label"].to_numpy()[nearest], ""),
            "nearest_similarity": np.where(compared, nearest_similarity, np.nan),
            "novelty_p": _novelty(evidence["novelty"], context.calibration),
            "group": [g if isinstance(g, str) else "" for g in inputs["group"]],
        }
    )
    _take_duplicates(table, exemplars, failed)
    duplicate = (table["duplicate_of"] != "").to_numpy()
    table["status"] = _statuses(table, failed, duplicate, context)
    table["cluster"] = _clusters(table["status"], evidence["reduced"], probs, context)
    table["order"] = _order(table, probs, evidence["reduced"], run)
    table["reason"] = [_reason(row, context) for row in table.itertuples()]
    _blank_failed(table, failed, evidence["errors"])
    return table[COLUMNS], context.promise.to_dict() if context.promise else None


def _novelty(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    return novelty_p_values(scores, calibration.novelty, calibration.units)


def _joined(chosen: np.ndarray, classes: np.ndarray) -> list[str]:
    return ["|".join(classes[row]) for row in chosen]


def _take_duplicates(table: pd.DataFrame, exemplars: pd.DataFrame, failed: np.ndarray) -> None:
    """A byte-identical copy of a labelled image takes its label: a person gave it."""
    known = exemplars.drop_duplicates("image_id").set_index("image_id")
    same = table["image_id"].isin(known.index).to_numpy() & ~failed
    ids = table["image_id"][same]
    table["duplicate_of"] = ""
    table.loc[same, "duplicate_of"] = known.loc[ids, "image"].to_numpy()
    for column in ("predicted_label", "label_set"):
        table.loc[same, column] = known.loc[ids, "label"].to_numpy()
    table.loc[same, "confidence"] = 1.0


def _statuses(
    table: pd.DataFrame, failed: np.ndarray, duplicate: np.ndarray, context: Context
) -> np.ndarray:
    status = np.full(len(table), "review", dtype=object)
    judged = ~failed & ~duplicate
    if context.promise is None:
        status[judged] = "assigned"
    else:
        threshold = context.promise.threshold
        # The CSV rounds; a row must not fall on the other side of the threshold it shows.
        if threshold is not None:
            status[judged & (table["confidence"] >= threshold).to_numpy()] = "assigned"
        novel = np.zeros(len(table), dtype=bool)
        p_values = table["novelty_p"].to_numpy()[judged]
        novel[judged] = benjamini_hochberg(p_values, context.config.engine.novelty_alpha)
        status[novel] = "novel"
    status[duplicate] = "duplicate"
    status[failed] = "failed"
    return status


def _clusters(
    status: pd.Series, reduced: np.ndarray, probs: np.ndarray, context: Context
) -> pd.Series:
    refused, read = status.isin(["review", "novel"]).to_numpy(), (status != "failed").to_numpy()
    clusters = pd.Series(pd.NA, index=status.index, dtype="Int64")
    if refused.any():
        run, stored = context.run, context.run.gallery
        labelled = Reduction(stored["centre"], stored["projection"])(stored["features"])
        labels = run.manifest["label"].map({c: i for i, c in enumerate(run.classes)}).to_numpy()
        points = cluster_space(reduced[read], probs[read], labelled, labels)
        size = context.config.engine.min_cluster_size
        clusters[refused] = cluster_refused(points, size, len(run.classes), refused[read])
    return clusters


def _order(table: pd.DataFrame, probs: np.ndarray, reduced: np.ndarray, run: Run) -> pd.Series:
    refused = table["status"].isin(["review", "novel"]).to_numpy()
    order = pd.Series(pd.NA, index=table.index, dtype="Int64")
    part = table[refused]
    unknown = (part["status"] == "novel").to_numpy()
    labelled = Reduction(run.gallery["centre"], run.gallery["projection"])(run.gallery["features"])
    found = order_questions(
        probs[refused], reduced[refused], part["group"].to_numpy(), unknown, labelled
    )
    order[part.index[found > 0]] = found[found > 0]
    return order


def _reason(row: tuple, context: Context) -> str:
    if row.status == "failed":
        return ""
    if row.status == "duplicate":
        return f"The same file as the labelled image {row.duplicate_of}."
    if row.status == "novel":
        return f"Unlike every labelled image (p = {row.novelty_p:.3f})."
    agrees = (
        "classifier and nearest labelled image agree"
        if row.classifier_label == row.nearest_label == row.predicted_label
        else f"the classifier says {row.classifier_label}, the nearest labelled image is "
        f"{row.nearest_label}"
    )
    if row.status == "assigned":
        if context.promise is None:
            return f"Confidence {row.confidence:.4f}; {agrees}."
        return (
            f"Confidence {row.confidence:.4f} reaches the threshold "
            f"{context.promise.threshold:.4f}; {agrees}."
        )
    if context.promise.threshold is None:
        return f"Confidence {row.confidence:.4f}, but too few labels to promise anything; {agrees}."
    return (
        f"Confidence {row.confidence:.4f} is below the threshold "
        f"{context.promise.threshold:.4f}; {agrees}."
    )


def _blank_failed(table: pd.DataFrame, failed: np.ndarray, errors: np.ndarray) -> None:
    kept = ("image", "image_id", "status", "group", "reason", "cluster", "order")
    for column in COLUMNS:
        if column not in kept:
            blank = np.nan if pd.api.types.is_float_dtype(table[column]) else ""
            table.loc[failed, column] = blank
    table.loc[failed, "reason"] = errors[failed]
