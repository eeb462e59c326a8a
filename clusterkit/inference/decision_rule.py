"""The rule by which one `assign` decides every row: thresholds, class proportions, promise."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from clusterkit.config import Config
from clusterkit.formats.assignment_record import LabelSetRecord, PromiseRecord
from clusterkit.formats.run import Run
from clusterkit.inference.evidence import Evidence
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.label_shift import apply_prior, estimate_prior_of
from clusterkit.methods.lapse import Lapse
from clusterkit.methods.novelty import novelty_p_values, untestable_classes
from clusterkit.methods.prediction_sets import (
    class_set_thresholds,
    classes_in_every_set,
    images_needed,
)
from clusterkit.methods.risk_control import Promise
from clusterkit.methods.supported_confidence import SupportedConfidence


@dataclass(frozen=True)
class DecisionRule:
    """Thresholds, class proportions and promises, the same for every row of a batch.

    Attributes
    ----------
    run : Run
    config : Config
    calibration : Calibration
        With lapses, under the batch's class proportions.
    prior : (K,) float
        Those proportions, as estimated; the labelled ones where `label_shift` is off.
    promises : list of Promise
        One for all classes, or one for each; empty: everything is assigned, nothing promised.
    set_thresholds : (K,) float
        Probability at which each class enters a label set.
    novelty_p : (N,) float
        Of the batch's rows, see `methods.novelty.novelty_p_values`: the proportions rest on them.
    lapse : Lapse
        Of the calibration, before proportions are changed.
    """

    run: Run
    config: Config
    calibration: Calibration
    prior: np.ndarray
    promises: list[Promise]
    set_thresholds: np.ndarray
    novelty_p: np.ndarray
    lapse: Lapse

    @classmethod
    def of(
        cls, run: Run, config: Config, evidence: Evidence, calibration: Calibration
    ) -> "DecisionRule":
        """Choose thresholds for one batch, under the error that the config allows.

        Parameters
        ----------
        run : Run
        config : Config
        evidence : Evidence (N)
        calibration : Calibration
            Its probabilities are made as those of the evidence are; see `transduce`.
        """
        lapse, calibration = calibration.lapse, calibration.lapsed()
        novelty_p = _novelty_p(evidence, calibration)
        prior = calibration.prior
        if config.engine.label_shift:
            prior = _estimated(evidence, novelty_p, calibration, lapse, config)
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
        return cls(run, config, calibration, prior, promises, entry, novelty_p, lapse)

    @property
    def max_error(self) -> float:
        """The largest part of wrong labels that is promised; 1: nothing is promised."""
        error = self.config.assign.max_error
        return 1.0 if error is None else error

    @property
    def thresholds(self) -> np.ndarray:
        """(K,) float: the lowest confidence at which each class is assigned; inf: never."""
        n_classes = len(self.run.classes)
        if not self.promises:
            return np.zeros(n_classes)
        lowest = [np.inf if p.threshold is None else p.threshold for p in self.promises]
        thresholds = np.full(n_classes, lowest[0]) if len(lowest) == 1 else np.array(lowest)
        thresholds[~self.measured] = np.inf
        return thresholds

    @cached_property
    def supported(self) -> SupportedConfidence:
        """From a confidence to what of it the held-out record bears out, which rows show."""
        return SupportedConfidence.of(self.calibration)

    @cached_property
    def untestable(self) -> np.ndarray:
        """(K,) bool: the class has too few images to tell what is unlike them."""
        held = self.calibration
        return untestable_classes(
            held.novelty, held.labels, held.units, len(self.run.classes),
            self.config.engine.novelty_alpha,
        )  # fmt: skip

    @cached_property
    def labelled_of_classes(self) -> list[str]:
        """Words for each class's labelled images, e.g. ``class 'a' has 9 labelled images``."""
        manifest, words = self.run.manifest, []
        for label in self.run.classes:
            groups = manifest["group"][manifest["label"] == label]
            n, units = len(groups), groups.nunique() + int(groups.isna().sum())
            of = f" of {units} group{'s' * (units != 1)}" if units < n else ""
            words.append(f"class '{label}' has {n} labelled image{'s' * (n != 1)}{of}")
        return words

    @property
    def measured(self) -> np.ndarray:
        """(K,) bool: images of the class were held out; of other classes no error is known."""
        return np.isin(np.arange(len(self.run.classes)), self.calibration.labels)

    def probs(self, fused: np.ndarray) -> np.ndarray:
        """Turn fused probabilities (N, K) into those under the batch's class proportions."""
        lapsed = self.lapse(fused.astype(float))
        return apply_prior(lapsed, self.calibration.prior, self.prior)

    def label_set_record(self) -> LabelSetRecord:
        """Return how label sets were made, for `assignments.json`."""
        level, labels = self.config.assign.confidence, self.calibration.labels
        always = classes_in_every_set(labels, len(self.run.classes), level)
        named = [c for c, chosen in zip(self.run.classes, always, strict=True) if chosen]
        return LabelSetRecord(level, len(labels), images_needed(level), named)

    def record(self) -> PromiseRecord | None:
        """Return the promise and its evidence for `assignments.json`; None: none was made."""
        if not self.promises:
            return None
        if not self.config.assign.per_class:
            return self._as_shown(self.promises[0])
        each = {
            label: self._as_shown(promise)
            for label, promise in zip(self.run.classes, self.promises, strict=True)
        }
        settings, unit = self.config.assign, self.promises[0].unit
        return PromiseRecord(
            max_error=settings.max_error, level=settings.confidence, unit=unit, per_class=each
        )

    def _as_shown(self, promise: Promise) -> PromiseRecord:
        """Return the record of a promise, with its threshold on the scale of the rows."""
        values = asdict(promise)
        if promise.threshold is not None:
            values["threshold"] = float(self.supported(np.array([promise.threshold]))[0])
        return PromiseRecord(**values)


def _novelty_p(evidence: Evidence, calibration: Calibration) -> np.ndarray:
    found = np.empty(len(evidence))
    for rows, part in evidence.parts("novelty"):
        found[rows] = novelty_p_values(part["novelty"], calibration.novelty, calibration.units)
    return found


def _estimated(
    evidence: Evidence,
    novelty_p: np.ndarray,
    calibration: Calibration,
    lapse: Lapse,
    config: Config,
) -> np.ndarray:
    """Estimate the class proportions of the images that are of known classes.

    An image that is like nothing labelled is of none of them: whichever it is nearest to would
    seem more frequent, and pull other images to itself.
    """
    # Texts are slow to read again in every round.
    counted = np.empty(len(evidence), dtype=bool)
    for rows, part in evidence.parts("errors"):
        counted[rows] = part["errors"] == ""
    if config.assign.max_error is not None and not calibration.within_groups:
        novel = benjamini_hochberg(novelty_p[counted], config.engine.novelty_alpha)
        counted[counted] = ~novel

    def parts() -> Iterator[np.ndarray]:
        for rows, part in evidence.parts("probs"):
            yield lapse(part["probs"][counted[rows]].astype(float))

    return estimate_prior_of(parts, calibration.prior, calibration.n_units)
