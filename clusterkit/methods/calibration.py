"""Calibration: a fusion and its confidence, fitted and measured on held-out images."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from clusterkit.errors import RunError
from clusterkit.methods.calibration_error import calibration_error, top_bin_error
from clusterkit.methods.fusion import INPUTS, Fusion, Scores, fit_fusion
from clusterkit.methods.label_shift import apply_prior
from clusterkit.methods.lapse import Lapse, crossed_lapse
from clusterkit.methods.precision import Precision
from clusterkit.methods.prediction_sets import crossed_coverage, crossing_parts
from clusterkit.methods.risk_control import (
    Promise,
    choose_class_thresholds,
    choose_threshold,
    no_promise,
)
from clusterkit.methods.unit_likelihood import unit_log_likelihood, unit_weights
from clusterkit.models.forward import BFLOAT16

# Held-out units from which on they choose the inputs of the fusion.
_LEAST_UNITS = 10


@dataclass(frozen=True)
class HeldOut:
    """Scores of N labelled images from models that were not trained on them.

    Attributes
    ----------
    rows : (N,) int
        Their rows among the labelled images.
    scores : Scores of N images
        Exemplars and voting neighbours are of other groups.
    novelty : (N, S) float
        See `methods.novelty`.
    labels, units, folds : (N,) int
        True class, group (or the image itself), and the fold each was held out in.
    plain : Scores of N images, or None
        The same from images that were encoded in float32, where `scores` are from a quicker
        precision. Fitting must not depend on rounding; the promise must hold with it.
    """

    rows: np.ndarray
    scores: Scores
    novelty: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    folds: np.ndarray
    plain: Scores | None = None

    @property
    def fitted(self) -> Scores:
        """Scores that a fusion is fitted on: those of float32."""
        return self.scores if self.plain is None else self.plain

    @classmethod
    def joined(cls, parts: "list[HeldOut]") -> "HeldOut":
        """Return the images of several, one after the other."""
        plain = [part.plain for part in parts if part.plain is not None]
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            scores=Scores.joined([part.scores for part in parts]),
            novelty=np.concatenate([part.novelty for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            units=np.concatenate([part.units for part in parts]),
            folds=np.concatenate([part.folds for part in parts]),
            plain=Scores.joined(plain) if plain else None,
        )


@dataclass(frozen=True)
class Calibration:
    """A fitted fusion and the held-out record that thresholds are chosen on.

    Attributes
    ----------
    fusion : Fusion
        Fitted on all held-out images; used for new images.
    chosen : str
        Inputs that the fusion uses: a key of `fusion.INPUTS`.
    inputs : dict of str to float
        Mean log-likelihood per held-out unit of each choice of inputs.
    prior : (K,) float
        Proportions of the classes among all labels.
    probs : (N, K) float
        Of the held-out images, from fusions fitted on other units; without lapses.
    novelty : (N, S) float
        Novelty scores, see `methods.novelty`.
    labels, units, rows : (N,) int
        As in `HeldOut`.
    gated : (N,) bool
        The true class is among those that the gate lets through.
    precision : Precision
        As measured by `calibrate`; a run keeps it in run.json, not in calibration.json.
    within_groups : bool
        Models had learned from other images of the same groups (patients): what is measured is
        about these groups alone, and nothing is promised.
    lapse : Lapse
        Fitted to `probs`; see `lapsed`.
    """

    fusion: Fusion
    chosen: str
    inputs: dict[str, float]
    prior: np.ndarray
    probs: np.ndarray
    novelty: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    rows: np.ndarray
    gated: np.ndarray
    precision: Precision = field(default_factory=Precision)
    within_groups: bool = False
    lapse: Lapse = field(default_factory=Lapse)

    @property
    def confidence(self) -> np.ndarray:
        """Highest class probability (N,) of each held-out image."""
        return self.probs.max(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """Likeliest class (N,) of each held-out image."""
        return self.probs.argmax(axis=1)

    @property
    def true_prob(self) -> np.ndarray:
        """Probability (N,) of the true class of each held-out image."""
        return self.probs[np.arange(len(self.labels)), self.labels]

    @property
    def correct(self) -> np.ndarray:
        """Truth (N,) of the predicted classes: True where it is the true class."""
        return self.predicted == self.labels

    @property
    def n_units(self) -> int:
        """Number of groups (or images without one) that were held out."""
        return len(np.unique(self.units))

    @property
    def log_likelihood(self) -> float:
        """Mean log-probability of the true class, each unit counting once."""
        return float(unit_log_likelihood(self.probs, self.labels, self.units).mean())

    def lapsed(self) -> "Calibration":
        """Return the record with lapses, as rows have them; before proportions are changed.

        One rate for all, and the one that new images get: thresholds then lie where they lay.
        """
        return replace(self, probs=self.lapse(self.probs), lapse=Lapse())

    def with_prior(self, prior: np.ndarray) -> "Calibration":
        """Return the record under the class proportions `prior` (K,); see `apply_prior`."""
        return replace(self, probs=apply_prior(self.probs, self.prior, prior))

    def promise(self, max_error: float, level: float) -> Promise:
        """Confidence threshold for a promised error; see `choose_threshold`."""
        if self.within_groups:
            return no_promise(max_error, level)
        return choose_threshold(self.confidence, self.correct, self.units, max_error, level)

    def class_promises(self, max_error: float, level: float) -> list[Promise]:
        """Confidence thresholds per predicted class (K); see `choose_class_thresholds`."""
        if self.within_groups:
            return [no_promise(max_error, level) for _ in range(self.probs.shape[1])]
        return choose_class_thresholds(
            self.confidence, self.predicted, self.correct, self.units, max_error, level,
            self.probs.shape[1],
        )  # fmt: skip

    def metrics(self, level: float) -> dict[str, Any]:
        """Return measures on the held-out images as plain values; label sets at `level`.

        The Brier score is that of the predicted class (Brier 1950). It and calibration errors are
        measured with lapse rates that were fitted on other units.
        """
        measured = self
        if self.lapse.rate:
            crossed = crossed_lapse(self.probs, self.labels, self.units)
            measured = replace(self, probs=crossed)
        confidence, correct = measured.confidence, self.correct
        coverage, size = crossed_coverage(self.probs, self.labels, self.units, level)
        return {
            "held_out_images": len(self.labels),
            "held_out_units": self.n_units,
            "within_groups": self.within_groups,
            "accuracy": float(self.correct.mean()),
            "gate_recall": float(self.gated.mean()),
            "expected_calibration_error": calibration_error(confidence, correct),
            "top_calibration_error": top_bin_error(confidence, correct),
            "brier_score": float(np.mean((confidence - correct) ** 2)),
            "label_set_coverage": coverage,
            "label_set_size": size,
            "log_likelihood": self.log_likelihood,
            "inputs": self.chosen,
            "inputs_log_likelihood": self.inputs,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `calibration.json`."""
        plain = ("fusion", "chosen", "inputs", "precision", "within_groups", "lapse")
        arrays = {k: np.asarray(v).tolist() for k, v in vars(self).items() if k not in plain}
        chosen: dict[str, Any] = {"chosen": self.chosen, "inputs": self.inputs}
        if self.within_groups:
            chosen["within_groups"] = True
        fitted = {"fusion": self.fusion.to_dict(), "lapse": self.lapse.rate}
        return {**fitted, **chosen, "held_out": arrays}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """Read what `to_dict` wrote.

        Raises
        ------
        RunError
            It is not what `to_dict` wrote.
        """
        try:
            found: dict[str, Any] = {k: np.asarray(v) for k, v in values["held_out"].items()}
            fusion = values["fusion"] | {"weights": tuple(values["fusion"]["weights"])}
            found |= {"chosen": values["chosen"], "inputs": values["inputs"]}
            found["within_groups"] = bool(values.get("within_groups", False))
            # Of runs of before, nothing lapses.
            lapse = Lapse(float(values.get("lapse", 0.0)))
            return cls(fusion=Fusion(**fusion), lapse=lapse, **found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(
                f"the run's calibration.json is damaged ({error!r}); fit the run again"
            ) from error


def calibrate(held_out: HeldOut, prior: np.ndarray, gate_mass: float, gate_max: int) -> Calibration:
    """Calibration of held-out images: the fusion's inputs chosen, and its parameters fitted.

    Each choice of inputs (`fusion.INPUTS`) is fitted on some of the units and scored on the
    others. The likeliest is taken if it is likelier than the plain ones by a standard error
    (Breiman et al. 1984). Plain are the classifier alone, or with its neighbours where held-out
    images gain by them. Each image's probabilities are recorded from a fusion that was fitted on
    other units (cross-fitting).

    Parameters
    ----------
    held_out : HeldOut
    prior : (K,) float
        Proportions of the classes among all labels.
    gate_mass, gate_max
        See `gate_classes`.
    """
    parts = crossing_parts(held_out.folds, held_out.units)
    weight = unit_weights(held_out.units)
    labels, rows = held_out.labels, np.arange(len(held_out.labels))

    def crossed(inputs: tuple[int, ...], scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        probs = np.zeros(scores.logits.shape)
        gate = np.zeros(scores.logits.shape, dtype=bool)
        for part in np.unique(parts):
            test = parts == part
            train = ~test if not test.all() else test
            fusion = fit_fusion(held_out.fitted[train], labels[train], gate_mass, gate_max,
                                weight[train], inputs)  # fmt: skip
            gate[test] = fusion.gate(scores.logits[test])
            probs[test] = fusion.probs(scores[test], gate[test])
        return probs, gate

    voted = not np.isnan(held_out.fitted.vote).all()
    tried = {name: crossed(inputs, held_out.fitted) for name, inputs in INPUTS.items()
             if voted or 2 not in inputs}  # fmt: skip
    fit = {k: unit_log_likelihood(v[0], labels, held_out.units) for k, v in tried.items()}
    best = _choose(fit)
    probs, gate = tried[best]
    precision = Precision()
    if held_out.plain is not None:
        quick, quick_gate = crossed(INPUTS[best], held_out.scores)
        precision = Precision.compared(BFLOAT16, quick, probs)
        # As `assign` does it: close calls are those of float32.
        close = precision.is_close(quick)[:, None]
        probs, gate = np.where(close, probs, quick), np.where(close, gate, quick_gate)
    return Calibration(
        fusion=fit_fusion(held_out.fitted, labels, gate_mass, gate_max, weight, INPUTS[best]),
        chosen=best,
        inputs={name: float(values.mean()) for name, values in fit.items()},
        prior=np.asarray(prior),
        probs=probs,
        novelty=held_out.novelty,
        labels=labels,
        units=held_out.units,
        rows=held_out.rows,
        gated=gate[rows, labels],
        precision=precision,
        lapse=Lapse.fitted(probs, labels, held_out.units),
    )


def clearly_likelier(first: Calibration, second: Calibration) -> bool:
    """Return True where `first` is likelier than `second` by more than a standard error.

    Likelihood of the true classes of the images that both held out, per unit. With fewer than
    ten units the answer is always no.
    """
    common, rows, others = np.intersect1d(first.rows, second.rows, return_indices=True)
    if not len(common):
        return False
    units = first.units[rows]
    fits = [unit_log_likelihood(c.probs[places], c.labels[places], units)
            for c, places in ((first, rows), (second, others))]  # fmt: skip
    return _is_sure(fits[0] - fits[1])


def _choose(fit: dict[str, np.ndarray]) -> str:
    """Return the likeliest inputs, if they are likelier than the plain ones by a standard error.

    Breiman et al. (1984). With a handful of held-out units any choice is luck. Plain are the
    classifier alone, or with its neighbours in the pool where held-out images gain by them.
    """
    alone, pooled = "classifier", "classifier+neighbours"
    if pooled in fit and fit[pooled].mean() > fit[alone].mean():
        alone = pooled
    gains = {name: values - fit[alone] for name, values in fit.items() if name != alone}
    sure = {name: float(gain.mean()) for name, gain in gains.items() if _is_sure(gain)}
    return max(sure, key=lambda name: sure[name]) if sure else alone


def _is_sure(gain: np.ndarray) -> bool:
    """Return True where ten units (U,) or more gain by more than a standard error."""
    n = len(gain)
    return n >= _LEAST_UNITS and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(n))
