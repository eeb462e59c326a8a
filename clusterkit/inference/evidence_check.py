"""Evidence that was there before this call: a run from a stranger may bring some of its own."""

import numpy as np

from clusterkit.errors import RunError
from clusterkit.formats.run import Run
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.journal import Journal
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.calibration import Calibration

# By which a probability in float32 may be above 1.
_ROUNDED = 1e-5


def check_evidence(journal: Journal, evidence: Evidence, run: Run) -> None:
    """Check that what a journal holds can be evidence of a run.

    Parameters
    ----------
    journal : Journal
    evidence : Evidence (N)
        Of it.
    run : Run

    Raises
    ------
    RunError
        It lacks what there is of each image, or names classes or labelled images that the run has
        not.
    """
    # NaN is in no range.
    ranges = {
        "near": (-1, len(run.manifest) - 1),
        "nearest": (-1, len(run.manifest) - 1),
        "nearest_classes": (-1, len(run.classes) - 1),
        "probs": (0, 1 + _ROUNDED),
        "classifier": (0, 1 + _ROUNDED),
        "reduced": (np.finfo(np.float32).min, np.finfo(np.float32).max),
    }
    if "of_folds" in (journal.form.names or ()):
        ranges["of_folds"] = (0, 1 + _ROUNDED)
    good = not len(evidence) or _has_form(journal.form, run)
    if not good or not all(
        ((part[name] >= low) & (part[name] <= high)).all()
        for _, part in evidence.parts(*ranges)
        for name, (low, high) in ranges.items()
    ):
        raise RunError(f"{journal.folder} holds what cannot be evidence of this run; delete it, or "
                       "give --fresh")  # fmt: skip


def _has_form(form: np.dtype, run: Run) -> bool:
    """Whether a row has the numbers of an image under a run, of their kinds and shapes."""
    of_classes = ("f", (len(run.classes),))
    scores = Calibration.from_dict(run.calibration).novelty.shape[1:]
    wanted = dict.fromkeys(("classifier", "probs", "pooled"), of_classes) | {
        "gate": ("b", of_classes[1]), "near": ("i", ()), "near_score": ("f", ()),
        "nearest": ("i", ()), "nearest_logit": ("f", ()), "novelty": ("f", scores),
        "nearest_classes": ("i", scores),
        "reduced": ("f", (Reduction.stored_in(run).projection.shape[1],)),
    }  # fmt: skip
    folds = FoldModels.stored_in(run)
    if folds is not None:
        wanted["of_folds"] = ("f", tuple(folds.bias.shape))
    if run.info.features is not None:
        wanted["seen"] = ("b", ())
    return wanted == {name: (form[name].base.kind, form[name].shape) for name in form.names or ()}
