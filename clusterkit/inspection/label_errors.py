"""Labels that held-out predictions of a run speak against, by confident learning (cleanlab)."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clusterkit.errors import RunError
from clusterkit.inspection.findings import Finding

if TYPE_CHECKING:
    from clusterkit.formats.held_out_record import HeldOutRecord

log = logging.getLogger("clusterkit")

INSTALL = "pip install 'clusterkit[inspect]'"

# Fewer held-out images do not show how often classes are confused.
_FEW = 20


def label_suspects(rows: pd.DataFrame, run: Path | str | None) -> tuple[list[Finding], str]:
    """Return the labels that a run's held-out predictions speak against, the likeliest first.

    Every prediction is of models that had not learned from the image (nor from its
    group, where whole groups can be held out). An
    image is suspect where that contradicts its label more than the classes' own rates of confusion
    explain: cleanlab's `find_label_issues` with its default, prune by noise rate.

    Parameters
    ----------
    rows : DataFrame (N)
        With columns image_id and label; the labels as they are now, not as the run saw them.
    run : path or None
        None: the newest under ``runs/`` if there is one and it held out some of these images.

    Returns
    -------
    list of Finding
        The score is the held-out probability of the given label, in [0, 1]: low is suspect.
    str
        In one sentence, what was compared, or why nothing was.

    Raises
    ------
    RunError
        A run was given that cannot be used.
    """
    if run is None and not any(Path("runs").glob("*/run.json")):
        return [], "label errors are looked for once there is a run (clusterkit fit)"
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return [], f"label errors were not looked for: cleanlab is not installed ({INSTALL})"
    try:
        # They import torch, which a data set without a run need not wait for.
        from clusterkit.formats.held_out_record import HeldOutRecord
        from clusterkit.formats.run import Run, find_run

        record = HeldOutRecord.of(Run.load(run or find_run()))
    except RunError as error:
        if run is not None:
            raise
        log.warning("label errors are not looked for: %s", error)
        return [], "label errors were not looked for: the newest run cannot be used"
    places, labels, probs = _match(rows, record)
    of = f"run {record.name}"
    if len(places) < _FEW:
        return [], (f"label errors were not looked for: {of} held out {len(places)} of these "
                    f"labelled images, and at least {_FEW} are needed")  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        issues = find_label_issues(
            labels, probs, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    found = [_suspect(int(places[i]), labels[i], probs[i], record.classes) for i in issues]
    return found, f"label errors were looked for among {len(places)} images that {of} held out"


def _match(
    rows: pd.DataFrame, record: "HeldOutRecord"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places in `rows`, (n,) labels now, and (n, K) probabilities of held-out images."""
    held = {image_id: i for i, image_id in enumerate(record.ids)}
    number = {label: i for i, label in enumerate(record.classes)}
    pairs = enumerate(zip(rows["image_id"], rows["label"], strict=True))
    matched = [(place, number[label], held[image_id]) for place, (image_id, label) in pairs
             if image_id in held and label in number]  # fmt: skip
    places, labels, at = np.array(matched, dtype=int).reshape(-1, 3).T
    return places, labels, record.probs[at]


def _suspect(place: int, label: int, probs: np.ndarray, classes: list[str]) -> Finding:
    likely = int(probs.argmax())
    detail = (f"labelled '{classes[label]}'; a model that had not seen it says "
              f"'{classes[likely]}' ({probs[likely]:.0%} against {probs[label]:.0%})")  # fmt: skip
    labels = list(dict.fromkeys((classes[label], classes[likely])))
    return Finding([place], [detail], [float(probs[label])], labels=labels)
