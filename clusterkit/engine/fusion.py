"""Fusion (DESIGN §7.3): classifier and similarity become one probability a class."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from clusterkit.engine.gate import gate_classes

# How strongly the weights are held at (1, 0), the classifier alone, in held-out images:
# with very few labels the fusion must not follow their noise.
_PRIOR_IMAGES = 2.0


@dataclass(frozen=True)
class Fusion:
    """A conditional logit over the gated classes (McFadden 1974) and two calibrations.

    ``P(c | x) ∝ exp(w_classifier · log p_c + w_siamese · s_c)`` with p the temperature-scaled
    classifier probabilities (Guo et al., arXiv 1706.04599) and s the pooled Siamese logits.
    Few parameters, so a few dozen held-out images can fit it, and a rescaling of both inputs
    is part of it: the result is calibrated on what it was fitted to.

    Attributes
    ----------
    temperature : float > 0
    classifier_weight, siamese_weight : float ≥ 0
    slope, offset : float
        Platt's sigmoid from a Siamese logit to the probability of the same class, for equally
        many pairs of same and other classes.
    gate_mass, gate_max
        See `gate_classes`.
    """

    temperature: float
    classifier_weight: float
    siamese_weight: float
    slope: float
    offset: float
    gate_mass: float
    gate_max: int

    def classifier_probs(self, logits: np.ndarray) -> np.ndarray:
        """Return temperature-scaled probabilities (N, K)."""
        return softmax(logits / self.temperature, axis=1)

    def gate(self, logits: np.ndarray) -> np.ndarray:
        """Return the classes to compare with, (N, K) bool."""
        return gate_classes(self.classifier_probs(logits), self.gate_mass, self.gate_max)

    def probs(self, logits: np.ndarray, pooled: np.ndarray, gate: np.ndarray) -> np.ndarray:
        """Return fused probabilities (N, K); 0 outside the gate, rows sum to 1."""
        weights = self.classifier_weight, self.siamese_weight
        scores = _scores(weights, log_softmax(logits / self.temperature, axis=1), pooled)
        return softmax(np.where(gate, scores, -np.inf), axis=1)

    def similarity(self, logits: np.ndarray) -> np.ndarray:
        """Turn Siamese logits of any shape into calibrated similarities in [0, 1]."""
        return expit(self.slope * logits + self.offset)

    def to_dict(self) -> dict:
        """Return plain numbers for `calibration.json`."""
        return asdict(self)


def fit_fusion(
    logits: np.ndarray, pooled: np.ndarray, labels: np.ndarray, gate_mass: float, gate_max: int
) -> Fusion:
    """Fit a `Fusion` on held-out scores.

    Parameters
    ----------
    logits : (N, K) float
        Classifier logits of images that did not train the classifier.
    pooled : (N, K) float
        Their pooled Siamese logits to exemplars of all K classes; -inf: no exemplar.
    labels : (N,) int
    gate_mass, gate_max
        See `gate_classes`.
    """
    temperature = _fit_temperature(logits, labels)
    log_probs = log_softmax(logits / temperature, axis=1)
    rows = np.arange(len(labels))

    def loss(weights: np.ndarray) -> float:
        likelihood = log_softmax(_scores(weights, log_probs, pooled), axis=1)[rows, labels]
        pull = (weights[0] - 1) ** 2 + weights[1] ** 2
        return (_PRIOR_IMAGES * pull - likelihood.sum()) / len(labels)

    fitted = minimize(loss, x0=[1.0, 0.1], method="L-BFGS-B", bounds=[(0, 20), (0, 20)])
    slope, offset = _fit_similarity(pooled, labels)
    weights = [float(w) for w in fitted.x]
    return Fusion(temperature, *weights, slope, offset, gate_mass, gate_max)


def _scores(weights: np.ndarray, log_probs: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    # A class without an exemplar must not win or lose by that alone: it gets the lowest score.
    finite = np.isfinite(pooled)
    lowest = np.where(finite, pooled, np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    return weights[0] * log_probs + weights[1] * np.where(finite, pooled, lowest)


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        likelihood = log_softmax(logits / np.exp(log_t), axis=1)[rows, labels]
        return log_t**2 - likelihood.sum()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def _fit_similarity(pooled: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    same = labels[:, None] == np.arange(pooled.shape[1])
    finite = np.isfinite(pooled)
    x, y = pooled[finite][:, None], same[finite]
    if y.all() or not y.any():
        return 1.0, 0.0
    model = LogisticRegression(class_weight="balanced").fit(x, y)
    # A negative slope would call unlike images alike; that is noise, not evidence.
    return max(0.0, float(model.coef_[0, 0])), float(model.intercept_[0])
