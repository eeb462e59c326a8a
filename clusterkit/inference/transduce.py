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
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.transduction import Refinement, refine

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
    calibration = Calibration.from_dict(run.calibration)
    apart = _apart(run, evidence, groups)
    why = _why_not(config, calibration, len(apart) - int(apart.sum()))
    if why:
        return Transduced(evidence, calibration, TransductionRecord(used=False, why=why))
    points, probs = _nodes(run, calibration, evidence, apart)
    refinement, refined, gain = refine(points, probs, calibration.labels, calibration.units)
    if refinement is None:
        record = TransductionRecord(
            used=False, why="held-out labels did not clearly gain by it", gain=gain
        )
        return Transduced(evidence, calibration, record)
    n = len(calibration.labels)
    record = TransductionRecord(
        used=True,
        why="held-out labels gained by it",
        gain=gain,
        images=len(points) - n,
        apart=int(apart.sum()),
        share=refinement.share,
        weights=[refinement.own, refinement.spread],
    )
    of_batch = _with_those_apart(evidence, apart, refined[n:], refinement)
    return Transduced(
        RefinedEvidence(evidence, of_batch), replace(calibration, probs=refined[:n]), record
    )


def _why_not(config: Config, calibration: Calibration, images: int) -> str:
    """Return why nothing is tried; "": it is."""
    if config.assign.transduction == "off":
        return "off in the settings"
    if calibration.within_groups:
        return "no whole group was held out to measure by"
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


def _nodes(
    run: Run, calibration: Calibration, evidence: Evidence, apart: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and probabilities of the held-out images, then of the batch's."""
    held_out = Reduction.stored_in(run)(run.gallery["features"][calibration.rows])
    points, probs = [held_out], [calibration.probs]
    for rows, part in evidence.parts("reduced", "probs"):
        points.append(part["reduced"][~apart[rows]])
        probs.append(part["probs"][~apart[rows]].astype(float))
    return np.concatenate(points), np.concatenate(probs)


def _with_those_apart(
    evidence: Evidence, apart: np.ndarray, refined: np.ndarray, refinement: Refinement
) -> np.ndarray:
    """Return probabilities (N, K) float32 of all: who took no part has no neighbours but itself."""
    probs = np.empty((len(apart), refined.shape[1]), dtype=np.float32)
    for rows, part in evidence.parts("probs"):
        probs[rows] = refinement(part["probs"], part["probs"])
    probs[~apart] = refined
    return probs
