"""From a batch's evidence to the rows of `assignments.csv`: status, label, reason."""

import numpy as np
import pandas as pd

from clusterkit.data.contents import names_of
from clusterkit.engine.cluster import cluster_refused, cluster_space
from clusterkit.engine.conformal import benjamini_hochberg, label_sets
from clusterkit.engine.context import Context
from clusterkit.engine.judge import Reduction
from clusterkit.engine.novelty import novelty_p_values
from clusterkit.engine.questions import order_questions
from clusterkit.engine.table import COLUMNS


def build_table(
    inputs: pd.DataFrame, evidence: dict[str, np.ndarray], context: Context
) -> pd.DataFrame:
    """Turn evidence on N images into N rows of the contract.

    Parameters
    ----------
    inputs : DataFrame (N)
        image, path, group, frame, and elements of DICOM that are to be kept.
    evidence : dict of (N, …) arrays
        As `Engine.evidence` gives them.
    context : Context

    Returns
    -------
    DataFrame with the contract's columns, and the elements to keep.
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
    names = names_of(exemplars)
    compared = nearest >= 0
    table = pd.DataFrame(
        {
            "image": inputs["image"].to_numpy(),
            "image_id": evidence["ids"],
            "predicted_label": classes[best],
            "confidence": probs[rows, best],
            "label_set": _joined(label_sets(probs, context.set_thresholds), classes),
            "classifier_label": classes[first],
            "classifier_probability": evidence["classifier"][rows, first].astype(float),
            "similarity": np.where(compared, similarity, np.nan),
            "gate": _joined(evidence["gate"], classes),
            "nearest_image": np.where(compared, names[nearest], ""),
            "nearest_label": np.where(compared, exemplars["label"].to_numpy()[nearest], ""),
            "nearest_similarity": np.where(compared, nearest_similarity, np.nan),
            "novelty_p": novelty_p_values(
                evidence["novelty"], context.calibration.novelty, context.calibration.units
            ),
            "group": [g if isinstance(g, str) else "" for g in inputs["group"]],
        }
    )
    _take_duplicates(table, exemplars, failed)
    duplicate = (table["duplicate_of"] != "").to_numpy()
    near = _take_near(table, exemplars, evidence, failed | duplicate)
    threshold = context.thresholds[best]
    unlike = (near != "") & (near != table["predicted_label"]).to_numpy()
    table["status"] = _statuses(table, failed, duplicate, near != "", threshold, context)
    if context.promises:
        # The same picture under another label: one of the two is wrong, and a person must say.
        table.loc[unlike & (table["status"] == "assigned"), "status"] = "review"
    # Where the labelled images lie: clusters and questions are seen from there.
    labelled = Reduction.stored_in(run)(run.gallery["features"])
    table["cluster"] = _clusters(table["status"], evidence["reduced"], probs, labelled, context)
    table["order"] = _order(table, probs, evidence["reduced"], labelled)
    promised = bool(context.promises)
    table["reason"] = [
        _near_reason(row, label, score) + _reason(row, limit, promised)
        for row, limit, label, score in zip(
            table.itertuples(), threshold, near, evidence["near_score"], strict=True
        )
    ]
    _blank_failed(table, failed, evidence["errors"])
    kept = [c for c in inputs if c not in ("image", "path", "group", "frame")]
    return table[COLUMNS].assign(**{c: inputs[c].to_numpy() for c in kept})


def _joined(chosen: np.ndarray, classes: np.ndarray) -> list[str]:
    return ["|".join(classes[row]) for row in chosen]


def _take_duplicates(table: pd.DataFrame, exemplars: pd.DataFrame, failed: np.ndarray) -> None:
    """A byte-identical copy of a labelled image takes its label: a person gave it."""
    known = exemplars.assign(name=names_of(exemplars)).drop_duplicates("image_id")
    known = known.set_index("image_id")
    same = table["image_id"].isin(known.index).to_numpy() & ~failed
    ids = table["image_id"][same]
    table["duplicate_of"] = ""
    table.loc[same, "duplicate_of"] = known.loc[ids, "name"].to_numpy()
    for column in ("predicted_label", "label_set"):
        table.loc[same, column] = known.loc[ids, "label"].to_numpy()
    table.loc[same, "confidence"] = 1.0


def _take_near(
    table: pd.DataFrame, exemplars: pd.DataFrame, evidence: dict[str, np.ndarray], other: np.ndarray
) -> np.ndarray:
    """Name the labelled near duplicate of each image; returns its label (N,), "": none."""
    rows = np.where(other, -1, evidence["near"])
    found = rows >= 0
    table.loc[found, "duplicate_of"] = names_of(exemplars)[rows[found]]
    labels = np.full(len(table), "", dtype=object)
    labels[found] = exemplars["label"].to_numpy()[rows[found]]
    return labels


def _statuses(
    table: pd.DataFrame,
    failed: np.ndarray,
    duplicate: np.ndarray,
    near: np.ndarray,
    threshold: np.ndarray,
    context: Context,
) -> np.ndarray:
    status = np.full(len(table), "review", dtype=object)
    judged = ~failed & ~duplicate
    status[judged & (table["confidence"] >= threshold).to_numpy()] = "assigned"
    if context.promises:
        novel = np.zeros(len(table), dtype=bool)
        p_values = table["novelty_p"].to_numpy()[judged]
        novel[judged] = benjamini_hochberg(p_values, context.config.engine.novelty_alpha)
        # A labelled picture made brighter may look strange, but it is not unlike all labelled.
        novel &= ~near
        status[novel] = "novel"
    status[duplicate] = "duplicate"
    status[failed] = "failed"
    return status


def _clusters(
    status: pd.Series,
    reduced: np.ndarray,
    probs: np.ndarray,
    labelled: np.ndarray,
    context: Context,
) -> pd.Series:
    refused, read = status.isin(["review", "novel"]).to_numpy(), (status != "failed").to_numpy()
    clusters = pd.Series(pd.NA, index=status.index, dtype="Int64")
    if refused.any():
        run = context.run
        points = cluster_space(reduced[read], probs[read], labelled, run.labels)
        size = context.config.engine.min_cluster_size
        clusters[refused] = cluster_refused(points, size, len(run.classes), refused[read])
    return clusters


def _order(
    table: pd.DataFrame, probs: np.ndarray, reduced: np.ndarray, labelled: np.ndarray
) -> pd.Series:
    refused = table["status"].isin(["review", "novel"]).to_numpy()
    order = pd.Series(pd.NA, index=table.index, dtype="Int64")
    part = table[refused]
    unknown = (part["status"] == "novel").to_numpy()
    found = order_questions(
        probs[refused], reduced[refused], part["group"].to_numpy(), unknown, labelled
    )
    order[part.index[found > 0]] = found[found > 0]
    return order


def _near_reason(row: tuple, label: str, score: float) -> str:
    if not label:
        return ""
    differs = ", which differs" if label != row.predicted_label else ""
    return f"Near duplicate ({score:.2f}) of {row.duplicate_of}, labelled {label}{differs}. "


def _reason(row: tuple, threshold: float, promised: bool) -> str:
    if row.status == "failed":
        return ""
    if row.status == "duplicate":
        return f"The same file as the labelled image {row.duplicate_of}."
    if row.status == "novel":
        return f"Unlike every labelled image (p = {row.novelty_p:.3f})."
    if row.status == "review" and row.confidence >= threshold:
        return (
            f"Confidence {row.confidence:.4f} for {row.predicted_label}: one of the two is wrong."
        )
    agrees = (
        "classifier and nearest labelled image agree"
        if row.classifier_label == row.nearest_label == row.predicted_label
        else f"the classifier says {row.classifier_label}, the nearest labelled image is "
        f"{row.nearest_label}"
    )
    if not promised:
        return f"Confidence {row.confidence:.4f}; {agrees}."
    if row.status == "assigned":
        reached = f"reaches the threshold {threshold:.4f}"
        return f"Confidence {row.confidence:.4f} {reached}; {agrees}."
    if np.isinf(threshold):
        return (
            f"Confidence {row.confidence:.4f}, but nothing can be promised for "
            f"{row.predicted_label} yet; {agrees}."
        )
    return f"Confidence {row.confidence:.4f} is below the threshold {threshold:.4f}; {agrees}."


def _blank_failed(table: pd.DataFrame, failed: np.ndarray, errors: np.ndarray) -> None:
    kept = ("image", "image_id", "status", "group", "reason", "cluster", "order")
    for column in COLUMNS:
        if column not in kept:
            blank = np.nan if pd.api.types.is_float_dtype(table[column]) else ""
            table.loc[failed, column] = blank
    table.loc[failed, "reason"] = errors[failed]
