"""Where nothing can be promised at the error asked for: what could be at others, and the way out.

Each step is a promise of its own, made on the same held-out images and true with the confidence
asked for. That holds for the step whose error was decided by what one needs, before or after the
ladder was seen; it does not hold for all steps at once, nor for the one that was picked because it
looks best. So steps are said to be what they are, one by one, and none is applied.
"""

from typing import Any

import numpy as np
import pandas as pd

from clusterkit.formats.assignment_record import AssignmentRecord, LadderStep
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.methods.certificate import answers_needed, null_total
from clusterkit.methods.fdr import benjamini_hochberg

LADDER_ERRORS = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20)


def ladder_of(rule: DecisionRule, table: pd.DataFrame, evidence: Evidence) -> dict[str, Any]:
    """Return `ladder` and `certify_answers` of an `AssignmentRecord`; {}: there is no need.

    There is none where something is promised, nor with `per_class` (each class would want its
    own), nor where no group could be held out whole: no error that was measured so bears a promise.

    Parameters
    ----------
    rule : DecisionRule
    table : DataFrame (N)
        The rows of `assignments.csv`.
    evidence : Evidence (N)
    """
    settings = rule.config.assign
    if settings.per_class or rule.calibration.within_groups or len(rule.promises) != 1:
        return {}
    if rule.promises[0].threshold is not None:
        return {}
    confidence, error = _could_be_assigned(rule, table, evidence), rule.max_error
    steps = []
    for at in sorted({*LADDER_ERRORS, error}):
        promise = rule.calibration.promise(at, settings.confidence)
        lowest = np.inf if promise.threshold is None else promise.threshold
        assigned = int((confidence >= lowest).sum())
        steps.append(LadderStep(at, assigned, promise.more, promise.unit))
    read = table["image_id"][table["status"].isin(["review", "novel"])]
    images, level = int(read.nunique()), settings.confidence
    answers = answers_needed([], images, null_total(images, error), level) if images else None
    return {"ladder": steps, "certify_answers": answers}


def _could_be_assigned(rule: DecisionRule, table: pd.DataFrame, evidence: Evidence) -> np.ndarray:
    """Return the confidence (n,) of the images that a threshold alone keeps from being assigned.

    As `decide` has it: neither novel nor as unusual, no copy, no near duplicate of another label,
    and of a class of which images were held out.
    """
    status = table["status"].to_numpy()
    compared = np.isin(status, ["review", "novel"])
    unlike = np.zeros(len(status), dtype=bool)
    alpha = rule.config.engine.novelty_alpha
    unlike[compared] = benjamini_hochberg(rule.novelty_p[compared], alpha)
    found = []
    for rows, part in evidence.parts("probs", "near"):
        probs, near = rule.probs(part["probs"]), part["near"]
        best = probs.argmax(axis=1)
        other = (near >= 0) & (rule.run.labels[near] != best)
        free = (status[rows] == "review") & ~(unlike[rows] & (near < 0)) & ~other
        found.append(probs.max(axis=1)[free & rule.measured[best]])
    return np.concatenate(found) if found else np.zeros(0)


def ladder_rows(record: AssignmentRecord) -> list[tuple[str, str, str]]:
    """Return (error, images that could be labelled, labels that it takes) in words.

    Of a record that somebody may have edited: a step without an error is left out.
    """
    rows = []
    for step in record.ladder:
        if step.max_error is None:
            continue
        unit = "group" if step.unit == "group" else "image"
        could = f"{step.assigned:,} image{'s' * (step.assigned != 1)}" if step.assigned else "none"
        more = "" if step.assigned else "the error measured is too large"
        if step.more:
            more = f"about {step.more:,} more labelled {unit}{'s' * (step.more != 1)}"
            more += " for more of them" if step.assigned else ""
        rows.append((f"{100 * step.max_error:.3g}%", could, more))
    return rows


def ladder_notes(record: AssignmentRecord) -> list[str]:
    """Return what a person must know of the ladder, and the way that needs none of it."""
    if not record.ladder:
        return []
    level = "" if record.confidence is None else f"{100 * record.confidence:.3g}% "
    notes = [
        f"Each line is {level}sure by itself, if its error is the one you need: then ask for it by "
        "--max-error. The lines are not that sure together, and one that is picked because it "
        "looks best is less sure."
    ]
    if record.certify_answers:
        notes.append(
            f"Without more labels: clusterkit certify asks about images of this batch; if none is "
            f"wrong, about {record.certify_answers:,} answers certify all its labels at the error "
            "that was asked for."
        )
    return notes
