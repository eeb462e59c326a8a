"""The batch as its own pool: its images and the held-out ones share a graph of neighbours."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.frames import files_of
from clusterkit.formats.assignment_record import TransductionRecord
from clusterkit.formats.run import Run
from clusterkit.inference.evidence import Evidence, Part
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.batch_blocks import BatchBlocks
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.held_out_verdict import HeldOutVerdict
from clusterkit.methods.lapse import Lapse
from clusterkit.methods.transduction import LabelledNodes, Refinement, refine

log = logging.getLogger("clusterkit")

# Images of a batch whose neighbours are looked for among each other.
MOST_TOGETHER = 100_000


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


def transduce(
    run: Run,
    config: Config,
    evidence: Evidence,
    groups: np.ndarray,
    settled: np.ndarray | None = None,
    most: int = MOST_TOGETHER,
) -> Transduced:
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
    settled : (N,) bool or None
        Images that were decided before: they take no part either, so that a folder which has grown
        costs what is new.
    most : int
        A larger batch is divided; see `methods.batch_blocks`.
    """
    calibration, models = Calibration.from_dict(run.calibration), FoldModels.stored_in(run)
    why = _why_never(config, calibration, models)
    apart = np.ones(0, dtype=bool) if why else _apart(run, evidence, groups)
    if settled is not None and not why:
        apart |= settled
    why = why or _why_not_here(len(apart) - int(apart.sum()))
    if why or models is None:
        return Transduced(evidence, calibration, TransductionRecord(used=False, why=why))
    blocks = BatchBlocks.drawn(groups[~apart], calibration.units, most, run.info.seed)
    found = _refined(_Batch(run, evidence, calibration), models, apart, blocks)
    if not found.record.used:
        return Transduced(evidence, calibration, found.record)
    lapse = Lapse.fitted(found.held_out, calibration.labels, calibration.units)
    calibration = replace(calibration, probs=found.held_out, lapse=lapse)
    return Transduced(RefinedEvidence(evidence, found.probs), calibration, found.record)


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


class _Refined(NamedTuple):
    """Probabilities of the held-out images (h, K) float, of the batch (N, K) float32, and how."""

    held_out: np.ndarray
    probs: np.ndarray
    record: TransductionRecord


def _refined(
    batch: "_Batch", models: FoldModels, apart: np.ndarray, blocks: BatchBlocks
) -> _Refined:
    """Refine block after block; `blocks` are of the images that are not `apart` (N,) bool."""
    calibration, chosen = batch.calibration, np.flatnonzero(~apart)
    labelled = labelled_nodes(calibration, models, batch.run.labels)
    h, held_out = len(calibration.labels), calibration.probs.copy()
    probs = np.empty((len(apart), held_out.shape[1]), dtype=np.float32)
    verdicts, refinements, images = [], [], 0
    for number, (own, drawn) in enumerate(blocks, 1):
        block = batch.block(chosen[own])
        found = refine(block.points, labelled, block.of_fold, block.own, calibration.prior)
        held_out[drawn], probs[chosen[own]] = found.probs[:h][drawn], found.probs[h:]
        verdicts.append(found.verdict)
        refinements.append(found.refinement)
        images += len(found.probs) - h if found.refinement else 0
        if blocks.count > 1:
            log.info("block %d of %d: %s", number, blocks.count, found.verdict.why)
    of_apart = np.where(apart, np.cumsum(apart) % blocks.count, -1)
    _set_those_apart(batch.evidence, of_apart, refinements, probs)
    used = [refinement.weights for refinement in refinements if refinement]
    gain = float(np.mean([verdict.gain for verdict in verdicts]))
    record = TransductionRecord(used=bool(used), why=_why(verdicts), gain=gain)
    if used:
        weights = np.mean(used, axis=0).tolist()
        record = replace(record, images=images, apart=int(apart.sum()), weights=weights)
    return _Refined(held_out, probs, record)


def _why(verdicts: list[HeldOutVerdict]) -> str:
    """Return in words what held-out labels say, of all blocks together."""
    taken = [verdict.why for verdict in verdicts if verdict.taken]
    if len(verdicts) == 1 or not taken:
        return verdicts[0].why
    return f"{taken[0]}, in {len(taken)} of {len(verdicts)} blocks of the batch"


class _Block(NamedTuple):
    """What `refine` takes of a block of M images.

    Attributes
    ----------
    points : (n + M, P) float32
        Of the labelled images, then of the block.
    own : (h + M, K) float
        Of the held-out images, then of the block.
    classifier : (M, K) float32
        By the classifier of all labels.
    of_folds : (M, F, K) float or None
        None: with one fold its classifier is the run's.
    """

    points: np.ndarray
    own: np.ndarray
    classifier: np.ndarray
    of_folds: np.ndarray | None

    def of_fold(self, fold: int) -> np.ndarray:
        """Return probabilities of the block by a fold's classifier; -1: by that of all labels."""
        if fold < 0 or self.of_folds is None:
            return self.classifier.astype(float)
        return self.of_folds[:, fold].astype(float)


@dataclass(frozen=True)
class _Batch:
    """The images of a batch, beside the labelled ones of a run."""

    run: Run
    evidence: Evidence
    calibration: Calibration

    def block(self, rows: np.ndarray) -> _Block:
        """Return what is known of these rows (M,), ascending."""
        folds = ["of_folds"] if len(self.run.gallery["folds.bias"]) else []
        names, found = ["reduced", "probs", "classifier", *folds], []
        for part_rows, part in self.evidence.parts(*names):
            inside = rows[slice(*np.searchsorted(rows, [part_rows.start, part_rows.stop]))]
            found.append([part[name][inside - part_rows.start] for name in names])
        reduced, probs, *said = (np.concatenate(parts) for parts in zip(*found, strict=True))
        labelled = Reduction.stored_in(self.run)(self.run.gallery["features"])
        return _Block(
            points=np.concatenate([labelled, reduced]),
            own=np.concatenate([self.calibration.probs, probs.astype(float)]),
            classifier=said[0],
            of_folds=said[1] if folds else None,
        )


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


def _set_those_apart(
    evidence: Evidence,
    of_block: np.ndarray,
    refinements: Sequence[Refinement | None],
    probs: np.ndarray,
) -> None:
    """Set probabilities (N, K) of who took no part, as its own neighbour, by its block's weights.

    `of_block` (N,) int; -1: it took part.
    """
    for rows, part in evidence.parts("probs"):
        own = part["probs"]
        for number in np.unique(of_block[rows]):
            if number < 0:
                continue
            here, refinement = of_block[rows] == number, refinements[number]
            said = own if refinement is None else refinement(own, own, own)
            probs[rows][here] = said[here]
