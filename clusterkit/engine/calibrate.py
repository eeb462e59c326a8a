"""Calibration (DESIGN §7.3, §7.5–7.7): what held-out images say about confidence."""

from dataclasses import dataclass

import numpy as np

from clusterkit.engine.fusion import Fusion, fit_fusion
from clusterkit.engine.guarantee import Promise, choose_threshold

# Equal-mass bins of the expected calibration error.
_BINS = 15


@dataclass(frozen=True)
class HeldOut:
    """Scores of N labelled images from models that were not trained on them.

    Attributes
    ----------
    rows : (N,) int
        Their rows among the labelled images.
    logits, pooled : (N, K) float
        Classifier logits, and Siamese logits pooled over exemplars from other groups.
    novelty : (N, 2) float
        Distance in features, and in appearance: see `engine.novelty`.
    labels, units, folds : (N,) int
        True class, group (or the image itself), and the fold each was held out in.
    """

    rows: np.ndarray
    logits: np.ndarray
    pooled: np.ndarray
    novelty: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    folds: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """A fitted fusion and the held-out record that thresholds are chosen on.

    Attributes
    ----------
    fusion : Fusion
        Fitted on all held-out images; used for new images.
    confidence, true_prob : (N,) float, novelty : (N, 2) float
        Of the held-out images, from fusions fitted on the other folds.
    predicted, labels, units, rows : (N,) int
    gated : (N,) bool
        Whether the gate let the true class through.
    """

    fusion: Fusion
    confidence: np.ndarray
    true_prob: np.ndarray
    novelty: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    rows: np.ndarray
    gated: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether the predicted class is the true one."""
        return self.predicted == self.labels

    def promise(self, max_error: float, level: float) -> Promise:
        """Choose the threshold for a promised error; see `choose_threshold`."""
        return choose_threshold(self.confidence, self.correct, self.units, max_error, level)

    def metrics(self) -> dict:
        """Return what the held-out images measured, as plain numbers."""
        n = len(self.labels)
        return {
            "held_out_images": n,
            "held_out_units": len(np.unique(self.units)),
            "accuracy": float(self.correct.mean()),
            "gate_recall": float(self.gated.mean()),
            "expected_calibration_error": calibration_error(self.confidence, self.correct),
            "brier_score": float(np.mean((self.confidence - self.correct) ** 2)),
        }

    def to_dict(self) -> dict:
        """Return plain values for `calibration.json`."""
        arrays = {k: np.asarray(v).tolist() for k, v in vars(self).items() if k != "fusion"}
        return {"fusion": self.fusion.to_dict(), "held_out": arrays}

    @classmethod
    def from_dict(cls, values: dict) -> "Calibration":
        """Read what `to_dict` wrote."""
        arrays = {k: np.asarray(v) for k, v in values["held_out"].items()}
        return cls(fusion=Fusion(**values["fusion"]), **arrays)


def calibrate(held_out: HeldOut, gate_mass: float, gate_max: int) -> Calibration:
    """Fit the fusion, and record each held-out image under a fusion that did not see its fold."""
    n, rows = len(held_out.labels), np.arange(len(held_out.labels))
    probs = np.zeros(held_out.logits.shape)
    gate = np.zeros(held_out.logits.shape, dtype=bool)
    for fold in np.unique(held_out.folds):
        test = held_out.folds == fold
        # One fold alone cannot be crossed: its own fusion of three numbers has to do.
        train = ~test if not test.all() else test
        fusion = fit_fusion(
            held_out.logits[train],
            held_out.pooled[train],
            held_out.labels[train],
            gate_mass,
            gate_max,
        )
        gate[test] = fusion.gate(held_out.logits[test])
        probs[test] = fusion.probs(held_out.logits[test], held_out.pooled[test], gate[test])
    return Calibration(
        fusion=fit_fusion(held_out.logits, held_out.pooled, held_out.labels, gate_mass, gate_max),
        confidence=probs.max(axis=1),
        true_prob=probs[rows, held_out.labels] if n else np.zeros(0),
        novelty=held_out.novelty,
        predicted=probs.argmax(axis=1),
        labels=held_out.labels,
        units=held_out.units,
        rows=held_out.rows,
        gated=gate[rows, held_out.labels],
    )


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error over equal-mass bins (Nguyen and O'Connor 2015).

    >>> calibration_error(np.array([0.5, 0.5]), np.array([True, False]))
    0.0
    """
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(_BINS, max(1, len(order) // 2)))
    gaps = [len(b) * abs(confidence[b].mean() - correct[b].mean()) for b in bins if len(b)]
    return float(sum(gaps) / max(1, len(order)))
