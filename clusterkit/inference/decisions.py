"""Decisions on each image with all others of the batch in view: a few numbers per row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.active_learning import choose_compared, order_points, uncertainty
from clusterkit.methods.cluster_splits import split_by_label
from clusterkit.methods.clustering import cluster_in_parts
from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.label_propagation import unit_length


@dataclass
class Decisions:
    """Decisions on N images.

    Attributes
    ----------
    failed : (N,) bool
        The image could not be read.
    best : (N,) int in [0, K)
        The likeliest class.
    confidence : (N,) float in [0, 1]
        Its probability.
    novelty_p : (N,) float in [0, 1]
    untestable : (N,) int in [0, K)
        The class that it is like, where that has too few images to tell whether it is novel; -1:
        none.
    unusual : (N,) bool
        Its p-value is that of a novel image, but cannot be relied on: it waits for a person.
    same, near : (N,) int
        The labelled image with the same bytes, and the near duplicate among them; -1: none.
    status : (N,) str
        One of `formats.assignments.STATUSES`.
    cluster : (N,) int
        -1: in none.
    order : (N,) int
        1 is asked first; 0: not asked.
    answered : (N,) bool
        A person has skipped or rejected the image before the run was fitted.
    """

    failed: np.ndarray
    best: np.ndarray
    confidence: np.ndarray
    novelty_p: np.ndarray
    untestable: np.ndarray
    unusual: np.ndarray
    same: np.ndarray
    near: np.ndarray
    status: np.ndarray
    cluster: np.ndarray
    order: np.ndarray
    answered: np.ndarray

    @classmethod
    def empty(cls, n: int) -> "Decisions":
        """Return decisions on n images that were read, resemble none, and wait for a person."""
        return cls(
            failed=np.zeros(n, dtype=bool),
            best=np.zeros(n, dtype=np.int32),
            confidence=np.zeros(n),
            novelty_p=np.ones(n),
            untestable=np.full(n, -1, dtype=np.int32),
            unusual=np.zeros(n, dtype=bool),
            same=np.full(n, -1, dtype=np.int32),
            near=np.full(n, -1, dtype=np.int32),
            status=np.full(n, "review", dtype=object),
            cluster=np.full(n, -1, dtype=np.int32),
            order=np.zeros(n, dtype=np.int32),
            answered=np.zeros(n, dtype=bool),
        )

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: a person must say what these are."""
        return (self.status == "review") | (self.status == "novel")


def decide(evidence: Evidence, groups: np.ndarray, rule: DecisionRule) -> Decisions:
    """Decide about N images.

    Parameters
    ----------
    evidence : Evidence (N)
    groups : (N,) str
        "" where there is none.
    rule : DecisionRule
    """
    found = Decisions.empty(len(evidence))
    found.novelty_p = rule.novelty_p
    # The first of several labelled images with the same bytes is named.
    known = pd.Index(rule.run.manifest["image_id"])
    first = pd.Series(np.arange(len(known)), index=known)[~known.duplicated()]
    answered = set(rule.run.info.without_label)
    names = ("ids", "errors", "probs", "nearest_classes", "near")
    for rows, part in evidence.parts(*names):
        probs, failed = rule.probs(part["probs"]), part["errors"] != ""
        best = probs.argmax(axis=1)
        found.failed[rows], found.best[rows] = failed, best
        found.confidence[rows] = probs[np.arange(len(probs)), best]
        like = np.column_stack([best, part["nearest_classes"]])
        found.untestable[rows] = _first_of(like, rule.untestable)
        found.answered[rows] = [identity in answered for identity in part["ids"]]
        same = first.reindex(part["ids"]).fillna(-1).to_numpy(dtype=np.int32)
        found.same[rows] = np.where(failed, -1, same)
        found.near[rows] = np.where(failed | (found.same[rows] >= 0), -1, part["near"])
    # A person gave the label of the labelled copy, or of a cluster that it lay in.
    copies = found.same >= 0
    found.confidence[copies] = rule.run.trust[found.same[copies]]
    _set_statuses(found, rule)
    if found.refused.any():
        labelled = Reduction.stored_in(rule.run)(rule.run.gallery["features"])
        found.cluster[found.refused] = _clusters(found, evidence, labelled, rule)
        asked = found.refused & ~found.answered
        if asked.any():
            found.order[asked] = _order(found, evidence, groups, labelled, rule)
    return found


def _set_statuses(found: Decisions, rule: DecisionRule) -> None:
    duplicate, near, status = found.same >= 0, found.near >= 0, found.status
    compared = ~found.failed & ~duplicate
    status[compared & (found.confidence >= rule.thresholds[found.best])] = "assigned"
    # Another patient's images may well be unlike all of one patient: that tells nothing.
    if rule.promises and not rule.calibration.within_groups:
        # Of a class that cannot be tested many may be in the batch: as discoveries that are none
        # they would let other images in.
        novel = _novel(found, compared & (found.untestable < 0), rule)
        found.unusual = _novel(found, compared, rule) & ~novel & ~near
        # A labelled picture made brighter may have a low p-value; it is not unlike all labelled.
        status[novel & ~near] = "novel"
        status[found.unusual] = "review"
    status[duplicate], status[found.failed] = "duplicate", "failed"
    if rule.promises:
        unlike = near & (rule.run.labels[found.near] != found.best)
        # The same picture under another label: one of the two is wrong, and a person must say.
        status[unlike & (status == "assigned")] = "review"


def _novel(found: Decisions, tested: np.ndarray, rule: DecisionRule) -> np.ndarray:
    """Return which (N,) of the tested images are novel, at the false discovery rate asked for."""
    novel = np.zeros(len(tested), dtype=bool)
    alpha = rule.config.engine.novelty_alpha
    novel[tested] = benjamini_hochberg(found.novelty_p[tested], alpha)
    return novel


def _first_of(classes: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the first class (N,) of each row (N, C) that is `among` (K,) bool; -1: none is."""
    inside = among[classes]
    first = classes[np.arange(len(classes)), inside.argmax(axis=1)]
    return np.where(inside.any(axis=1), first, -1)


def _clusters(
    found: Decisions, evidence: Evidence, labelled: np.ndarray, rule: DecisionRule
) -> np.ndarray:
    """Return the cluster (R,) of each refused image, as all that could be read show it."""
    run, read = rule.run, ~found.failed

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, part in evidence.parts("reduced", "probs"):
            here = read[rows]
            yield part["reduced"][here], rule.probs(part["probs"])[here]

    # Where the labelled images lie: clusters and questions are seen from there.
    clusters = cluster_in_parts(
        parts, int(read.sum()), labelled, run.labels, rule.config.engine.min_cluster_size,
        len(run.classes), found.refused[read],
    )  # fmt: skip
    best, agreed = found.best[found.refused], _agreed(found, evidence, rule)
    return split_by_label(clusters, best, agreed, found.novelty_p[found.refused])


def _agreed(found: Decisions, evidence: Evidence, rule: DecisionRule) -> np.ndarray:
    """Return whether classifier and nearest labelled image say the same of the refused (R,)."""
    labels, out = rule.run.labels, np.zeros(len(found.refused), dtype=bool)
    for rows, part in evidence.parts("classifier", "nearest"):
        nearest = np.where(part["nearest"] >= 0, labels[part["nearest"]], -1)
        best = found.best[rows]
        out[rows] = (part["classifier"].argmax(axis=1) == best) & (nearest == best)
    return out[found.refused]


def _order(
    found: Decisions,
    evidence: Evidence,
    groups: np.ndarray,
    labelled: np.ndarray,
    rule: DecisionRule,
) -> np.ndarray:
    """Return the order (R,) in which to ask about the refused images; see `order_questions`.

    Those that a person has seen and given no label are not asked about again.
    """
    refused = found.refused & ~found.answered
    worth = np.empty(len(refused))
    for rows, part in evidence.parts("probs"):
        worth[rows] = uncertainty(rule.probs(part["probs"]))
    worth[(found.status == "novel") | found.unusual] = 1.0
    compared = refused.copy()
    compared[refused] = choose_compared(worth[refused])
    points = np.empty((compared.sum(), labelled.shape[1]), dtype=np.float32)
    done = 0
    for rows, part in evidence.parts("reduced"):
        chosen = part["reduced"][compared[rows]]
        points[done : done + len(chosen)] = unit_length(chosen)
        done += len(chosen)
    order = np.zeros(len(refused), dtype=int)
    order[compared] = order_points(worth[compared], points, groups[compared], unit_length(labelled))
    return order[refused]
