"""What is the same for every row of one `assign`: thresholds, proportions, and the promise."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from clusterkit.config import Config
from clusterkit.formats.run import Run
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.promise_text import _class_part, _per, _percent, _sentence
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.label_shift import apply_prior, estimate_prior_of
from clusterkit.methods.prediction_sets import class_set_thresholds
from clusterkit.methods.risk_control import Promise


@dataclass(frozen=True)
class DecisionRule:
    """What is the same for every row.

    Attributes
    ----------
    run : Run
    config : Config
    calibration : Calibration
        Under the batch's class proportions.
    prior : (K,) float
        Those proportions, as estimated; the labelled ones where `label_shift` is off.
    promises : list of Promise
        One for all classes, or one for each; empty: everything is assigned, nothing promised.
    set_thresholds : (K,) float
        Probability at which each class enters a label set.
    """

    run: Run
    config: Config
    calibration: Calibration
    prior: np.ndarray
    promises: list[Promise]
    set_thresholds: np.ndarray

    @classmethod
    def of(cls, run: Run, config: Config, evidence: Evidence) -> "DecisionRule":
        """Choose the thresholds for what the config asks to promise, for one batch."""
        calibration = Calibration.from_dict(run.calibration)
        prior = calibration.prior
        if config.engine.label_shift:
            prior = _estimated(evidence, prior, calibration.n_units)
        calibration = calibration.with_prior(prior)
        error, level = config.assign.max_error, config.assign.confidence
        promises: list[Promise] = []
        if error is not None and config.assign.per_class:
            promises = calibration.class_promises(error, level)
        elif error is not None:
            promises = [calibration.promise(error, level)]
        entry = class_set_thresholds(
            calibration.true_prob, calibration.labels, len(run.classes), level
        )
        return cls(run, config, calibration, prior, promises, entry)

    @property
    def thresholds(self) -> np.ndarray:
        """(K,) float: the lowest confidence at which each class is assigned; inf: never."""
        n_classes = len(self.run.classes)
        if not self.promises:
            return np.zeros(n_classes)
        found = [np.inf if p.threshold is None else p.threshold for p in self.promises]
        thresholds = np.full(n_classes, found[0]) if len(found) == 1 else np.array(found)
        thresholds[~self._measured] = np.inf
        return thresholds

    @property
    def _measured(self) -> np.ndarray:
        """(K,) bool: classes of which images were held out; of others no error is known."""
        return np.isin(np.arange(len(self.run.classes)), self.calibration.labels)

    def probs(self, fused: np.ndarray) -> np.ndarray:
        """Turn fused probabilities (N, K) into those under the batch's class proportions."""
        return apply_prior(fused.astype(float), self.calibration.prior, self.prior)

    def to_dict(self) -> dict | None:
        """Return the promise and its evidence for `assignments.json`; None: none was asked for."""
        if not self.promises:
            return None
        if not self.config.assign.per_class:
            return asdict(self.promises[0])
        each = dict(zip(self.run.classes, map(asdict, self.promises), strict=True))
        asked = self.config.assign
        return {"max_error": asked.max_error, "level": asked.confidence,
                "unit": self.promises[0].unit, "per_class": each}  # fmt: skip

    @property
    def text(self) -> str:
        """The promise, or why there is none, in words."""
        if not self.promises:
            return "Nothing is promised: every readable image was assigned, as asked for."
        if not self.config.assign.per_class:
            return _sentence(self.promises[0]) + self._unmeasured_text
        asked = self.config.assign
        parts = [
            f"{label} {_class_part(promise)}"
            for label, promise in zip(self.run.classes, self.promises, strict=True)
        ]
        return (
            f"At most {_percent(asked.max_error)} of the labels assigned to each class are wrong"
            f"{_per(self.promises[0])}, with {_percent(asked.confidence)} confidence for all at "
            f"once: {'; '.join(parts)}. Images of a class that nobody labelled are not covered."
            + self._unmeasured_text
        )

    @property
    def _unmeasured_text(self) -> str:
        missing = [c for c, m in zip(self.run.classes, self._measured, strict=True) if not m]
        if not missing:
            return ""
        return (
            f" Nothing is assigned as {', '.join(missing)}: none of its images could be held out "
            "to measure errors on."
        )


def _estimated(evidence: Evidence, labelled: np.ndarray, units: int) -> np.ndarray:
    # Texts are slow to read again in every round.
    readable = [part["errors"] == "" for _, part in evidence.parts("errors")]

    def parts() -> Iterator[np.ndarray]:
        for (_, part), rows in zip(evidence.parts("probs"), readable, strict=True):
            yield part["probs"][rows].astype(float)

    return estimate_prior_of(parts, labelled, units)
