"""From a batch's evidence to the rows of `assignments.csv`: label, status, reason."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clusterkit.data.frames import names_of
from clusterkit.data.splits import why_within_groups
from clusterkit.formats.assignments import COLUMNS, NUMBERS
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.decisions import Decisions, decide
from clusterkit.inference.evidence import Evidence
from clusterkit.methods.prediction_sets import label_sets

# What a row shows of the evidence.
_SHOWN = ("ids", "errors", "probs", "classifier", "gate", "pooled", "nearest", "nearest_logit",
          "near_score")  # fmt: skip

# Rows that become a part of the table together.
JOINED_ROWS = 50_000

# Different reasons that are kept, so that rows may share them.
_MOST_SAID = 100_000

# What is known of an image that could not be read.
_OF_FAILED = ("image", "image_id", "status", "group", "reason", "cluster", "order")


def build_table(inputs: pd.DataFrame, evidence: Evidence, rule: DecisionRule) -> pd.DataFrame:
    """Turn evidence on N images into N rows of the contract; see `rows_of`."""
    found = decide(evidence, group_names(inputs), rule)
    return rows_of(inputs, evidence, rule, found, np.ones(len(inputs), dtype=bool))


def rows_of(
    inputs: pd.DataFrame,
    evidence: Evidence,
    rule: DecisionRule,
    found: Decisions,
    wanted: np.ndarray,
) -> pd.DataFrame:
    """Return the rows of those of N images that are wanted.

    Parameters
    ----------
    inputs : DataFrame (N)
        image, path, group, frame, and elements of DICOM that are to be kept.
    evidence : Evidence (N)
    rule : DecisionRule
    found : Decisions (N)
    wanted : (N,) bool

    Returns
    -------
    DataFrame (M) with the contract's columns, and the elements to keep.
    """
    images, groups = inputs["image"].to_numpy(), group_names(inputs)
    whole: dict[str, Any] = {"cluster": whole_numbers(found.cluster, found.cluster >= 0),
                             "order": whole_numbers(found.order, found.order > 0)}  # fmt: skip
    parts = [pd.DataFrame(columns=pd.Index(COLUMNS))] if not wanted.any() else []
    for rows, joined in _joined(_RowBuilder(rule, found), evidence, wanted):
        columns = {"image": images[rows], "group": groups[rows], **joined}
        columns |= {name: values[rows] for name, values in whole.items()}
        columns |= {name: columns[name].astype(float) for name in NUMBERS}
        parts.append(pd.DataFrame({name: columns[name] for name in COLUMNS}))
    table = pd.concat(parts, ignore_index=True)
    for name in (c for c in inputs if c not in ("image", "path", "group", "frame")):
        table[name] = inputs[name].to_numpy()[wanted]
    return table


def _joined(
    describe: "_RowBuilder", evidence: Evidence, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yield the columns of many rows at a time: as objects all would take too much memory."""
    which: list[np.ndarray] = []
    parts: list[dict[str, np.ndarray]] = []
    for rows, part in evidence.parts(*_SHOWN):
        here = np.flatnonzero(wanted[rows])
        if len(here):
            which.append(rows.start + here)
            parts.append(describe(which[-1], {name: part[name][here] for name in part}))
        if parts and (sum(map(len, which)) >= JOINED_ROWS or rows.stop == len(evidence)):
            joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
            yield np.concatenate(which), joined
            which, parts = [], []


def group_names(inputs: pd.DataFrame) -> np.ndarray:
    """Return the group (N,) str of each row of an input; "": it has none."""
    return np.array([g if isinstance(g, str) else "" for g in inputs["group"]], dtype=object)


def whole_numbers(numbers: np.ndarray, given: np.ndarray) -> pd.arrays.IntegerArray:
    """Return whole numbers (N,) as a column of a table; those not `given` (N,) bool are missing."""
    return pd.arrays.IntegerArray(np.where(given, numbers, 0).astype(np.int64), ~given)


class _RowBuilder:
    """Columns of rows, from their evidence and the decisions on all."""

    def __init__(self, rule: DecisionRule, found: Decisions) -> None:
        self.rule, self.found = rule, found
        self.classes = np.array(rule.run.classes, dtype=object)
        self.names = names_of(rule.run.manifest)
        self.labels = rule.run.manifest["label"].to_numpy(dtype=object)
        self.thresholds = rule.thresholds
        self.too_few = np.array(
            [f"{few}, too few to tell whether an image is unlike them"
             for few in rule.labelled_of_classes], dtype=object
        )  # fmt: skip
        self.joined: dict[bytes, str] = {}
        self.said: dict[str, str] = {}
        self.answers = rule.run.info.without_label

    def __call__(self, rows: np.ndarray, part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the columns of these rows that rest on the evidence."""
        probs, best = self.rule.probs(part["probs"]), self.found.best[rows]
        each, first = np.arange(len(probs)), part["classifier"].argmax(axis=1)
        nearest, fusion = part["nearest"], self.rule.calibration.fusion
        # Its neighbours in the batch may speak for a class that the gate has left out.
        gated = part["gate"][each, best]
        with np.errstate(over="ignore"):
            similarity = fusion.similarity(np.where(gated, part["pooled"][each, best], 0.0))
            nearest_similarity = fusion.similarity(part["nearest_logit"])
        compared = nearest >= 0
        sets = label_sets(probs, self.rule.set_thresholds)
        columns = {
            "image_id": part["ids"],
            "status": self.found.status[rows],
            "predicted_label": self.classes[best],
            "confidence": np.where(
                self.found.same[rows] >= 0,
                self.found.confidence[rows],
                self.rule.supported(self.found.confidence[rows]),
            ),
            "label_set": self._join(sets),
            "classifier_label": self.classes[first],
            "classifier_probability": part["classifier"][each, first].astype(float),
            "similarity": np.where(compared & gated, similarity, np.nan),
            "gate": self._join(part["gate"]),
            "nearest_image": np.where(compared, self.names[nearest], ""),
            "nearest_label": np.where(compared, self.labels[nearest], ""),
            "nearest_similarity": np.where(compared, nearest_similarity, np.nan),
            "novelty_p": self.found.novelty_p[rows],
            "duplicate_of": self._like(rows),
        }
        same = self.found.same[rows]
        for name in ("predicted_label", "label_set"):
            # A byte-identical copy of a labelled image takes its label: a person gave it.
            columns[name] = np.where(same >= 0, self.labels[same], columns[name])
        columns["reason"] = self._reasons(columns, rows, part["near_score"])
        failed = self.found.failed[rows]
        for name in set(columns).difference(_OF_FAILED):
            columns[name] = np.where(failed, np.nan if name in NUMBERS else "", columns[name])
        columns["reason"] = np.where(failed, part["errors"], columns["reason"])
        return columns

    def _join(self, chosen: np.ndarray) -> np.ndarray:
        """Join the chosen classes (n, K) of each row; equal rows share one text."""
        out = np.empty(len(chosen), dtype=object)
        for i, row in enumerate(chosen):
            key = row.tobytes()
            if key not in self.joined:
                self.joined[key] = "|".join(self.classes[row])
            out[i] = self.joined[key]
        return out

    def _like(self, rows: np.ndarray) -> np.ndarray:
        """Name the labelled image that each shows again."""
        same, near = self.found.same[rows], self.found.near[rows]
        which = np.where(same >= 0, same, near)
        return np.where(which >= 0, self.names[which], "")

    def _reasons(self, columns: dict, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        near, limits = self.found.near[rows], self.thresholds[self.found.best[rows]]
        reached = self.found.confidence[rows] >= limits
        limits = np.where(np.isinf(limits), limits, self.rule.supported(np.minimum(limits, 1.0)))
        labels = np.where(near >= 0, self.labels[near], "")
        promised = bool(self.rule.promises)
        # The same for all rows: why there is no promise at all.
        within = self.rule.calibration.within_groups
        why = why_within_groups(self.rule.run.manifest) if within else ""
        unusual = self._unusual(rows, columns["novelty_p"])
        table = pd.DataFrame(columns, dtype=object).itertuples()
        out = np.empty(len(near), dtype=object)
        for i, (row, limit, label, score) in enumerate(
            zip(table, map(_Limit, limits, reached), labels, scores, strict=True)
        ):
            said = _answer_reason(row, self.answers.get(str(row.image_id), ""))
            said += _near_reason(row, label, score)
            said += _reason(row, limit, promised, unusual[i], why)
            # Of a million rows thousands say the same.
            out[i] = self.said.setdefault(said, said) if len(self.said) < _MOST_SAID else said
        return out

    def _unusual(self, rows: np.ndarray, p_values: np.ndarray) -> np.ndarray:
        """Say why an image that may be novel is not called so; "": that is not in question."""
        classes = self.found.untestable[rows]
        perhaps = [f"perhaps unlike every labelled image (p = {p:.3f})" for p in p_values]
        few = np.where(classes >= 0, self.too_few[classes], np.array(perhaps, dtype=object))
        return np.where(self.found.unusual[rows], few, "")


def _answer_reason(row: Any, answer: str) -> str:
    if not answer or row.status in ("failed", "duplicate"):
        return ""
    again = ", not asked again" if row.status in ("review", "novel") else ""
    return f"A reviewer {answer} it before{again}. "


def _near_reason(row: Any, label: str, score: float) -> str:
    if not label:
        return ""
    differs = ", which differs" if label != row.predicted_label else ""
    return f"Near duplicate ({score:.2f}) of {row.duplicate_of}, labelled {label}{differs}. "


class _Limit(NamedTuple):
    """Threshold of an image's class as rows show it, and whether its score reaches it."""

    shown: float
    reached: bool


def _reason(row: Any, limit: _Limit, promised: bool, unusual: str, why_nothing: str) -> str:
    if row.status == "failed":
        return ""
    if row.status == "duplicate":
        named = ", which was named with its cluster and looked at by nobody" * (row.confidence < 1)
        return f"The same file as the labelled image {row.duplicate_of}{named}."
    if row.status == "novel":
        return f"Unlike every labelled image (p = {row.novelty_p:.3f})."
    if unusual:
        return f"Confidence {row.confidence:.4f} for {row.predicted_label}, but {unusual}."
    if row.status == "review" and limit.reached:
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
        reached = f"reaches the threshold {limit.shown:.4f}"
        return f"Confidence {row.confidence:.4f} {reached}; {agrees}."
    if why_nothing:
        return f"Confidence {row.confidence:.4f}, but nothing is promised: {why_nothing}; {agrees}."
    if np.isinf(limit.shown):
        return (
            f"Confidence {row.confidence:.4f}, but nothing can be promised for "
            f"{row.predicted_label} yet; {agrees}."
        )
    if row.confidence >= limit.shown:
        # The held-out record is too short to tell the two apart in numbers.
        return (f"Confidence {row.confidence:.4f}, but its score ranks below those that are "
                f"assigned; {agrees}.")  # fmt: skip
    return f"Confidence {row.confidence:.4f} is below the threshold {limit.shown:.4f}; {agrees}."
