"""Fusion of classifier, similarity and neighbours by a conditional logit: class probabilities."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from clusterkit.methods.gate import gate_classes

# How strongly the weights are held at the classifier alone, in held-out units: with very few
# labels the fusion must not follow their noise.
_PRIOR_UNITS = 10.0

# An input that is used keeps a trace of a weight even where held-out images speak against it:
# confidence may drop to that of a guess, but which class is likeliest must not become arbitrary.
_LEAST_WEIGHT = 1e-2

# Part of the classifier's probability that classes outside the gate keep. All of it makes what is
# clear less sure than it is right; none at all makes it sure.
_OUTSIDE = 0.5

# No vote of a few neighbours is evidence beyond this.
_LEAST_VOTE = 0.01

# Which inputs a fusion may use: index into (classifier, siamese, neighbours).
INPUTS = {
    "classifier": (0,),
    "classifier+similarity": (0, 1),
    "classifier+neighbours": (0, 2),
    "classifier+similarity+neighbours": (0, 1, 2),
    "similarity": (1,),
}


@dataclass(frozen=True)
class Scores:
    """Scores of N images per class, from three sources.

    Attributes
    ----------
    logits : (N, K) float
        The classifier's.
    pooled : (N, K) float
        Siamese logits pooled over each class's exemplars; -inf where not compared.
    vote : (N, K) float
        Mean class probabilities of the neighbours in the unlabelled pool; NaN rows: no neighbours.
    """

    logits: np.ndarray
    pooled: np.ndarray
    vote: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Scores":
        return Scores(self.logits[rows], self.pooled[rows], self.vote[rows])

    @classmethod
    def joined(cls, parts: "list[Scores]") -> "Scores":
        """Return the images of several, one after the other."""
        return cls(*(np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])))


@dataclass(frozen=True)
class Fusion:
    """A conditional logit over the gated classes (McFadden 1974) and two calibrations.

    ``P(c | x) ∝ exp(w₀ · log p_c + w₁ · s_c + w₂ · log v_c)`` with p the temperature-scaled
    classifier probabilities (Guo et al., arXiv 1706.04599), s the pooled Siamese logits and v
    the neighbours' vote. Few parameters, so a few dozen held-out images can fit it, and a
    rescaling of all inputs is part of it: the result is calibrated on what it was fitted to.

    Attributes
    ----------
    temperature : float > 0
    weights : (3,) of float ≥ 0
        Of classifier, similarity and neighbours.
    slope, offset : float
        Platt's sigmoid from a Siamese logit to the probability of the same class, for equally
        many pairs of same and other classes.
    gate_mass, gate_max
        See `gate_classes`.
    outside : float in [0, 1]
        Part of the classifier's probability that a class outside the gate keeps: the gate is an
        opinion, not knowledge. 0 in runs of before; there an image with one class in its gate was
        of it for sure.
    """

    temperature: float
    weights: tuple[float, float, float]
    slope: float
    offset: float
    gate_mass: float
    gate_max: int
    outside: float = 0.0

    def classifier_probs(self, logits: np.ndarray) -> np.ndarray:
        """Temperature-scaled class probabilities (N, K) of logits (N, K)."""
        return np.exp(log_softmax(logits / self.temperature))

    def gate(self, logits: np.ndarray) -> np.ndarray:
        """Classes (N, K) bool that an image is compared with; see `gate_classes`."""
        return gate_classes(self.classifier_probs(logits), self.gate_mass, self.gate_max)

    def probs(self, scores: Scores, gate: np.ndarray) -> np.ndarray:
        """Fused class probabilities (N, K), rows sum to 1.

        Outside the gate those of the classifier, times `outside`; the likeliest is inside.
        """
        joined = np.tensordot(self.weights, _terms(scores, self.temperature), axes=1)
        inside = np.exp(log_softmax(np.where(gate, joined, -np.inf)))
        if not self.outside:
            return inside
        kept = np.where(gate, 0.0, self.outside * self.classifier_probs(scores.logits))
        return (1 - kept.sum(axis=1, keepdims=True)) * inside + kept

    def similarity(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated similarities in [0, 1] of Siamese logits of any shape (Platt 1999)."""
        return torch.tensor(self.slope * logits + self.offset).sigmoid().numpy()

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for `calibration.json`."""
        return asdict(self)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, K) of logits (N, K); -inf stays -inf.

    By torch, which is there already: importing scipy.special would hold up assign's first batch.
    """
    return torch.tensor(logits).log_softmax(dim=1).numpy()


def fit_fusion(
    scores: Scores,
    labels: np.ndarray,
    gate_mass: float,
    gate_max: int,
    weight: np.ndarray | None = None,
    inputs: tuple[int, ...] = (0, 1, 2),
) -> Fusion:
    """Fit a `Fusion` on held-out scores by penalised maximum likelihood.

    Parameters
    ----------
    scores : Scores
        Of images that trained neither model; compared with exemplars of all K classes.
    labels : (N,) int
    gate_mass, gate_max
        See `gate_classes`.
    weight : (N,) float or None
        Sample weights; None: 1. With groups, ``1 / (images of its group)``: ten images of one
        patient are not ten pieces of evidence.
    inputs : tuple of int
        Those of classifier (0), similarity (1) and neighbours (2) that may have a weight.
    """
    weight = np.ones(len(labels)) if weight is None else weight
    temperature = fit_temperature(scores.logits, labels, weight)
    terms = _terms(scores, temperature)[list(inputs)]
    start = np.array([_start(i, inputs) for i in inputs])
    found = fit_logit_weights(terms, labels, weight, start, start + 0.05)
    weights = [0.0, 0.0, 0.0]
    for place, value in zip(inputs, found, strict=True):
        weights[place] = float(value)
    classifier, similarity, neighbours = weights
    slope, offset = _fit_similarity(scores.pooled, labels, weight)
    return Fusion(
        temperature, (classifier, similarity, neighbours), slope, offset, gate_mass, gate_max,
        _OUTSIDE,
    )  # fmt: skip


def fit_logit_weights(
    terms: np.ndarray, labels: np.ndarray, weight: np.ndarray, centre: np.ndarray, x0: np.ndarray
) -> np.ndarray:
    """Weights (I,) of a conditional logit (McFadden 1974), by penalised maximum likelihood.

    Parameters
    ----------
    terms : (I, N, K) float
        Of each input, image and class.
    labels : (N,) int in [0, K)
    weight : (N,) float > 0
        Of the images.
    centre : (I,) float
        Weights that a quadratic penalty, as strong as ten units, holds them at.
    x0 : (I,) float
        Where the search starts.
    """
    # Here, as wherever only fit needs it: these imports would hold up assign's first batch.
    from scipy.optimize import minimize

    rows = np.arange(len(labels))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        log_probs = log_softmax(np.tensordot(weights, terms, axes=1))
        residual = -np.exp(log_probs)
        residual[rows, labels] += 1
        gain = np.einsum("n,nk,ink->i", weight, residual, terms)
        pull = weights - centre
        value = _PRIOR_UNITS * pull @ pull - weight @ log_probs[rows, labels]
        return value, 2 * _PRIOR_UNITS * pull - gain

    bounds = [(_LEAST_WEIGHT, 20)] * len(centre)
    return minimize(loss, x0=x0, jac=True, method="L-BFGS-B", bounds=bounds).x


def _start(index: int, inputs: tuple[int, ...]) -> float:
    """Weight of an input in the prior, before any held-out image is seen.

    The neighbours' probabilities are the classifier's own, smoothed: half of each is as sure as
    one.
    """
    if 0 in inputs and 2 in inputs:
        return {0: 0.5, 1: 0.0, 2: 0.5}[index]
    return 1.0 if index == 0 else 0.0


def _terms(scores: Scores, temperature: float) -> np.ndarray:
    """Terms (3, N, K) of the logit: classifier, similarity, neighbours."""
    log_probs = log_softmax(scores.logits / temperature)
    # A class without an exemplar must not win or lose by that alone: it gets the lowest score.
    finite = np.isfinite(scores.pooled)
    lowest = np.where(finite, scores.pooled, np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    pooled = np.where(finite, scores.pooled, lowest)
    # Without neighbours, the classifier's own probabilities stand in: they change nothing.
    alone = np.isnan(scores.vote)
    vote = np.log(np.maximum(np.where(alone, 1.0, scores.vote), _LEAST_VOTE))
    return np.stack([log_probs, pooled, np.where(alone, log_probs, vote)])


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> float:
    """Temperature of the highest likelihood, under a normal prior on its logarithm."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        likelihood = log_softmax(logits / np.exp(log_t))[rows, labels]
        return log_t**2 - weight @ likelihood

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def _fit_similarity(
    pooled: np.ndarray, labels: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """Slope and offset of Platt's sigmoid; (1, 0) where all pairs are of one kind."""
    from sklearn.linear_model import LogisticRegression

    same = labels[:, None] == np.arange(pooled.shape[1])
    finite = np.isfinite(pooled)
    x, y = pooled[finite][:, None], same[finite]
    if y.all() or not y.any():
        return 1.0, 0.0
    weights = np.broadcast_to(weight[:, None], pooled.shape)[finite]
    model = LogisticRegression(class_weight="balanced").fit(x, y, weights)
    # A negative slope would call unlike images alike; that is noise, not evidence.
    return max(0.0, float(model.coef_[0, 0])), float(model.intercept_[0])
