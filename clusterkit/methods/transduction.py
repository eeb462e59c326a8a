"""Transduction: the images of a batch help to label each other.

A classifier of few labels draws its border through the midst of images that lie close together. In
a batch two more opinions can be had, a student's and the neighbours': see `batch_graph`.

What a batch says is drawn from a classifier, and the classifier of all labels knows those of the
held-out images: by way of the batch it would tell them. So each fold asks the batch anew, by its
own classifier, and its held-out images take part as if unlabelled (arXiv 2506.17503).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from clusterkit.methods.batch_graph import Graph, log_probs
from clusterkit.methods.fusion import fit_logit_weights, fit_temperature, log_softmax
from clusterkit.methods.held_out_verdict import HeldOutVerdict, verdict
from clusterkit.methods.prediction_sets import crossing_parts
from clusterkit.methods.unit_likelihood import unit_brier_score, unit_weights

# Weights of an image's own probabilities, the student's and the spread ones, before any held-out
# image is seen: as sure as their mean.
_START = np.array([0.25, 0.25, 0.5])


@dataclass(frozen=True)
class Refinement:
    """Class probabilities from those of an image itself, of the student, and of its neighbours.

    ``P(c) ∝ p_c ** own · t_c ** student · s_c ** spread``, a conditional logit as `fusion.Fusion`.

    Attributes
    ----------
    own, student, spread : float > 0
    """

    own: float
    student: float
    spread: float

    @property
    def weights(self) -> np.ndarray:
        """(3,) float: own, student, spread."""
        return np.array([self.own, self.student, self.spread])

    def __call__(self, probs: np.ndarray, student: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K), given the three opinions (N, K)."""
        return _joined(self.weights, log_probs(probs, student, spread))


class Refined(NamedTuple):
    """What `refine` found.

    Attributes
    ----------
    refinement : Refinement or None
        None: held-out labels do not gain by one.
    probs : (h + M, K) float
        Of measured images by weights that were fitted on other units, then of the batch; as they
        were where there is no refinement.
    verdict : HeldOutVerdict
        Of the Brier score in [0, 2].
    """

    refinement: Refinement | None
    probs: np.ndarray
    verdict: HeldOutVerdict


@dataclass(frozen=True)
class LabelledNodes:
    """n labelled images among the nodes of the graph, h of them measured.

    Attributes
    ----------
    labels : (n,) int in [0, K)
    folds : (n,) int
        Whose classifier has not learned from them; -1: all have.
    probs : (n, K) float
        By that classifier; NaN rows: of those that are not measured.
    rows : (h,) int
        Those that are measured.
    units : (h,) int
        See `calibration.HeldOut`.
    """

    labels: np.ndarray
    folds: np.ndarray
    probs: np.ndarray
    rows: np.ndarray
    units: np.ndarray


def refine(
    points: np.ndarray,
    labelled: LabelledNodes,
    of_batch: Callable[[int], np.ndarray],
    own: np.ndarray,
    prior: np.ndarray,
) -> Refined:
    """Let labelled images and a batch refine each other's probabilities, if held-out labels gain.

    They gain if the Brier score of held-out images, each unit counting once, is lower with the
    refinement: than that of their probabilities as they are, and than with a temperature fitted to
    these alone (which makes them more or less sure, and is no news of the batch). The weights were
    fitted on other units, and the opinions formed without their labels. This score has bounds: one
    image that was called wrong for sure does not decide, as it would by likelihood.

    Parameters
    ----------
    points : (n + M, P) float
        First of the labelled images, then of the batch.
    labelled : LabelledNodes of n images, h of them measured
    of_batch : callable
        From a fold to the probabilities (M, K) of the batch by its classifier; from -1 to those
        by the classifier of all labels.
    own : (h + M, K) float, rows sum to 1
        Probabilities of the measured images, by models that had not seen them, and of the batch.
    prior : (K,) float
        Class shares that all these are under.
    """
    h, n = len(labelled.rows), len(labelled.labels)
    labels, units = labelled.labels[labelled.rows], labelled.units
    if own.shape[1] < 2 or not h or len(points) < n + 2:
        return Refined(None, own, HeldOutVerdict(False, "there is nothing to measure by", 0.0))
    asked = _Asked(Graph(points), labelled, of_batch, prior)
    terms = log_probs(own[:h], *asked.of_held_out())
    parts = crossing_parts(labelled.folds[labelled.rows], units)
    refined = _crossed(terms, labels, units, parts, fit_weights)
    rescaled = _crossed(terms[:1], labels, units, parts, _fit_scale)
    scores = [unit_brier_score(p, labels, units) for p in (refined, own[:h], rescaled)]
    found = verdict(min(scores[1:], key=np.mean) - scores[0])
    if not found.taken:
        return Refined(None, own, found)
    fitted = Refinement(*fit_weights(terms, labels, units).tolist())
    said = (opinion[n:] for opinion in asked.opinions(-1))
    return Refined(fitted, np.concatenate([refined, fitted(own[h:], *said)]), found)


@dataclass(frozen=True)
class _Asked:
    """What a student and the neighbours say, asked by the classifier of each fold."""

    graph: Graph
    labelled: LabelledNodes
    of_batch: Callable[[int], np.ndarray]
    prior: np.ndarray

    def opinions(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Return opinions (n + M, K) on all nodes, as a fold's model knows them; -1: of all."""
        probs, known = _seen_by(fold, self.labelled, self.of_batch(fold))
        units = len(np.unique(self.labelled.units))
        return self.graph.opinions(probs, known, self.prior, units)

    def of_held_out(self) -> np.ndarray:
        """Return opinions (2, h, K) on the measured images, each as its own fold's model has it."""
        rows = self.labelled.rows
        folds, told = self.labelled.folds[rows], np.empty((2, len(rows), len(self.prior)))
        for fold in np.unique(folds):
            places = np.flatnonzero(folds == fold)
            told[:, places] = [said[rows[places]] for said in self.opinions(fold)]
        return told


def _seen_by(
    fold: int, labelled: LabelledNodes, batch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n + M, K) and known classes (n + M,) as the model of a fold has them.

    Fold -1 is the model of all labels.
    """
    out = (labelled.folds == fold) & (fold >= 0)
    classes = batch.shape[1]
    # Of the others the labels are known; what is not measured is not known to anybody.
    of_labelled = np.full((len(out), classes), 1 / classes)
    measured = out & np.isfinite(labelled.probs).all(axis=1)
    of_labelled[measured] = labelled.probs[measured]
    known = np.r_[np.where(out, -1, labelled.labels), np.full(len(batch), -1)]
    return np.concatenate([of_labelled, batch]), known


def _crossed(
    terms: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    parts: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return probabilities (h, K) of terms (I, h, K) by weights fitted on the other parts."""
    refined = np.empty(terms.shape[1:])
    for part in np.unique(parts):
        test = parts == part
        others = terms[:, ~test], labels[~test], units[~test]
        refined[test] = _joined(fit(*others), terms[:, test])
    return refined


def fit_weights(terms: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return weights (3,) of opinions: by penalised likelihood, then as sure as labels bear out.

    Parameters
    ----------
    terms : (3, h, K) float
        Log-probabilities.
    labels, units : (h,) int
        None at all: the weights are those that are held before any image is seen.
    """
    if not len(labels):
        return _START
    weights = fit_logit_weights(terms, labels, unit_weights(units), _START, _START)
    return weights * _fit_scale(np.tensordot(weights, terms, axes=1)[None], labels, units)


def _fit_scale(terms: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    if not len(labels):
        return np.ones(1)
    return np.array([1 / fit_temperature(terms[0], labels, unit_weights(units))])


def _joined(weights: np.ndarray, terms: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(np.tensordot(weights, terms, axes=1)))
