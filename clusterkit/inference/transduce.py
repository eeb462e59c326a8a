"""The batch as its own pool: its images and the held-out ones share a graph of neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.frames import files_of
from clusterkit.formats.assignment_record import TransductionRecord
from clusterkit.formats.run import Run
from clusterkit.inference.evidence import Evidence, Part
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.lapse import Lapse
from clusterkit.methods.transduction import LabelledNodes, Refinement, refine

# Images of a batch from which on their neighbours would take too long to find.
_MOST = 100_000


class RefinedEvidence(Evidence):
    """Evidence on N images with other class probabilities.

    Parameters
    ----------
    evidence : Evidence (N)
    probs : (N, K) float32
    """

    def __init__(self, evidence: Evidence, probs: np.ndarray) -> None:
        self._evidence, self._probs = evidence, probs

    def __len__(self) -> int:
        return len(self._evidence)

    def parts(self, *names: str) -> Iterator[Part]:
        """Yield (rows, arrays of these names) from the first rows to the last."""
        for rows, part in self._evidence.parts(*names):
            yield rows, part | {"probs": self._probs[rows]} if "probs" in names else part


@dataclass(frozen=True)
class Transduced:
    """A batch's evidence and the held-out record, both refined or both as they were.

    Attributes
    ----------
    evidence : Evidence (N)
    calibration : Calibration
    record : TransductionRecord
    """

    evidence: Evidence
    calibration: Calibration
    record: TransductionRecord


def transduce(run: Run, config: Config, evidence: Evidence, groups: np.ndarray) -> Transduced:
    """Let the images of a batch help to label each other, if held-out labels gain by it.

    Images that the run has learned from under another name, copies of labelled images and further
    images of their groups (patients), take no part: the model knows their labels, and would tell
    them to the held-out images beside them.

    Parameters
    ----------
    run : Run
    config : Config
    evidence : Evidence (N)
    groups : (N,) str
        "" where there is none.
    """
    calibration, models = Calibration.from_dict(run.calibration), FoldModels.stored_in(run)
    why = _why_never(config, calibration, models)
    apart = np.ones(0, dtype=bool) if why else _apart(run, evidence, groups)
    why = why or _why_not_here(len(apart) - int(apart.sum()))
    if why or models is None:
        return Transduced(evidence, calibration, TransductionRecord(used=False, why=why))
    batch = _Batch(run, evidence, apart, calibration)
    labelled = labelled_nodes(calibration, models, run.labels)
    found = refine(batch.points(), labelled, batch.of_fold, batch.own(), calibration.prior)
    refinement, refined, verdict = found
    if refinement is None:
        record = TransductionRecord(used=False, why=verdict.why, gain=verdict.gain)
        return Transduced(evidence, calibration, record)
    h = len(calibration.labels)
    record = TransductionRecord(
        used=True,
        why=verdict.why,
        gain=verdict.gain,
        images=len(refined) - h,
        apart=int(apart.sum()),
        weights=refinement.weights.tolist(),
    )
    of_batch = _with_those_apart(evidence, apart, refined[h:], refinement)
    lapse = Lapse.fitted(refined[:h], calibration.labels, calibration.units)
    calibration = replace(calibration, probs=refined[:h], lapse=lapse)
    return Transduced(RefinedEvidence(evidence, of_batch), calibration, record)


def labelled_nodes(
    calibration: Calibration, models: FoldModels, labels: np.ndarray
) -> LabelledNodes:
    """Return the labelled images, of classes `labels` (N,), as nodes of a batch's graph."""
    return LabelledNodes(
        labels=labels,
        folds=models.number,
        probs=calibration.fusion.classifier_probs(models.logits),
        rows=calibration.rows,
        units=calibration.units,
    )


@dataclass(frozen=True)
class _Batch:
    """The images of a batch that take part, beside the labelled ones of a run."""

    run: Run
    evidence: Evidence
    apart: np.ndarray
    calibration: Calibration

    def points(self) -> np.ndarray:
        """Return reduced features of the labelled images, then of the batch."""
        labelled = Reduction.stored_in(self.run)(self.run.gallery["features"])
        return np.concatenate([labelled, self._of_batch("reduced")])

    def own(self) -> np.ndarray:
        """Return probabilities of the held-out images, then of the batch."""
        return np.concatenate([self.calibration.probs, self._of_batch("probs").astype(float)])

    def of_fold(self, fold: int) -> np.ndarray:
        """Return probabilities of the batch by a fold's classifier; -1: by that of all labels."""
        # With one fold its classifier is the run's.
        if fold < 0 or not len(self.run.gallery["folds.bias"]):
            return self._of_batch("classifier").astype(float)
        return self._of_batch("of_folds", fold).astype(float)

    def _of_batch(self, name: str, fold: int | None = None) -> np.ndarray:
        parts = []
        for rows, part in self.evidence.parts(name):
            values = part[name] if fold is None else part[name][:, fold]
            parts.append(values[~self.apart[rows]])
        return np.concatenate(parts)


def _why_never(config: Config, calibration: Calibration, models: FoldModels | None) -> str:
    """Return why nothing is tried with any batch; "": it is."""
    if config.assign.transduction == "off":
        return "off in the settings"
    if calibration.within_groups:
        return "no whole group was held out to measure by"
    if models is None:
        return "the run keeps no classifiers of its folds: fine-tuned in each, or an older version"
    return ""


def _why_not_here(images: int) -> str:
    """Return why nothing is tried with so many images; "": it is."""
    if images < 2:
        return "there are no two images that could help each other"
    if images > _MOST:
        return f"the batch has more than {_MOST:,} images"
    return ""


def _apart(run: Run, evidence: Evidence, groups: np.ndarray) -> np.ndarray:
    """Return which images (N,) take no part."""
    known = set(files_of(run.manifest["image_id"]))
    labelled = set(run.manifest["group"].dropna()) - {""}
    apart = np.array(pd.Series(groups, dtype=object).isin(labelled), dtype=bool)
    for rows, part in evidence.parts("ids", "errors", "near", "probs", "reduced"):
        same = files_of(pd.Series(part["ids"])).isin(known).to_numpy(dtype=bool)
        whole = np.isfinite(part["probs"]).all(axis=1) & np.isfinite(part["reduced"]).all(axis=1)
        apart[rows] |= same | (part["near"] >= 0) | (part["errors"] != "") | ~whole
    return apart


def _with_those_apart(
    evidence: Evidence, apart: np.ndarray, refined: np.ndarray, refinement: Refinement
) -> np.ndarray:
    """Return probabilities (N, K) float32 of all: who took no part is its own neighbour."""
    probs = np.empty((len(apart), refined.shape[1]), dtype=np.float32)
    for rows, part in evidence.parts("probs"):
        probs[rows] = refinement(part["probs"], part["probs"], part["probs"])
    probs[~apart] = refined
    return probs
