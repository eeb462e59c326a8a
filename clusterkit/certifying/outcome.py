"""The labels after a certificate: who is `assigned`, who is `reviewed`, and what is said of it."""

import numpy as np
import pandas as pd

from clusterkit.certifying.answers import (
    CANNOT_TELL,
    NONE_OF_THESE,
    REJECTED,
    Answers,
    unnamed,
)
from clusterkit.certifying.proof import Proof
from clusterkit.formats.certificate_record import CertificateRecord

# Columns that say how sure the model was; a person's label has no such thing.
_WHOLE_SURE = 1.0

_UNNAMED = {CANNOT_TELL: "could not tell", NONE_OF_THESE: "says that it is none of these",
            REJECTED: "rejected the label and gave no other"}  # fmt: skip


def certified_table(table: pd.DataFrame, proof: Proof, answers: Answers) -> pd.DataFrame:
    """Return a table of assignments after a certificate.

    What a person answered is `reviewed`, with their label; what nobody could tell, or readers
    dispute, goes to `review`. Of the others, the certified set is `assigned` and what had been
    assigned beyond it goes back to `review`; where nothing is certified they stay as they are.
    Clusters keep their numbers, so that reviews that name one still mean the same images.

    Parameters
    ----------
    table : DataFrame
        As `assign` wrote it.
    proof : Proof
    answers : Answers
    """
    out = table.reset_index(drop=True)
    population, ids = proof.population, out["image_id"]
    free = ~out["status"].isin(["duplicate", "failed"])
    if proof.certified is not None:
        inside = free & ids.isin(population.table["image_id"][proof.members])
        beyond = free & ~inside & (out["status"] == "assigned")
        out.loc[inside, "status"] = "assigned"
        out.loc[inside, "order"] = pd.NA
        least = proof.sets.least_confidence[proof.number]
        out.loc[inside, "reason"] = f"certified by a random check of {len(proof.state.losses)}"
        out.loc[beyond, "status"] = "review"
        out.loc[beyond, "reason"] = f"not certified: less sure than {least:.1%}"
    given = answers.table.set_index("image_id")
    for row in np.flatnonzero(free & ids.isin(given.index)).tolist():
        _answer(out, row, given.loc[ids.iloc[row]])
    return out


def _answer(out: pd.DataFrame, row: int, answer: pd.Series) -> None:
    """Put one answer into its row."""
    if answer["disputed"]:
        out.at[row, "status"] = "review"
        out.at[row, "reason"] = f"readers disagree: {answer['disputed']}"
        return
    if not answer["label"]:
        out.at[row, "status"] = "review"
        out.at[row, "reason"] = f"{answer['reviewer']} {_UNNAMED[unnamed(answer['note'])]}"
        return
    was = answer["predicted_label"]
    out.at[row, "status"] = "reviewed"
    out.at[row, "reason"] = f"answered by {answer['reviewer']}" + (
        f"; the model had said {was}" if was != answer["label"] else ""
    )
    out.at[row, "predicted_label"] = out.at[row, "label_set"] = answer["label"]
    out.at[row, "confidence"], out.at[row, "order"] = _WHOLE_SURE, pd.NA


def statement(proof: Proof) -> str:
    """Return what is proved in words, for a person."""
    plan, state = proof.plan, proof.state
    labels, population, checked = proof.labels, state.population, len(state.losses)
    asked, sure = _percent(plan.max_error), f"{plan.confidence:.0%} sure"
    if checked == population:
        words = "" if proof.certified is not None else f", which is more than {asked}"
        return (f"All {labels:,} labels were checked: {_different(proof)}{words}. What was found "
                "is corrected, or has to be reviewed.")  # fmt: skip
    if plan.by == "group":
        drawn = f"{checked:,} of {population:,} patients, drawn at random, were checked"
        most = f"{proof.bound_before / population:.1%}"
    else:
        drawn = f"{checked:,} of them, drawn at random, were checked"
        most = f"{proof.bound_before:,.0f} of these {labels:,} labels"
    if proof.certified is None:
        said = most if plan.by == "image" else f"{most} of these {labels:,} labels, in the mean,"
        return (f"Not certified: {asked} was asked for, and at most {said} were wrong as set "
                f"({sure}). {drawn[0].upper()}{drawn[1:]}: {_different(proof)}.")  # fmt: skip
    if plan.by == "group":
        return (f"At most {asked} of these {labels:,} labels, in the mean over patients, were "
                f"wrong as set ({sure}). {drawn[0].upper()}{drawn[1:]}: {_different(proof)}. "
                "What was found is corrected, or has to be reviewed.")  # fmt: skip
    left = labels - int((~pd.isna(proof.wrong[proof.members])).sum())
    return (f"At most {most} ({asked}) were wrong as set ({sure}). {drawn[0].upper()}{drawn[1:]}: "
            f"{_different(proof)}. What was found is corrected, or has to be reviewed; "
            f"of the {left:,} that nobody checked at most {proof.bound_after:,.0f} are "
            "wrong.")  # fmt: skip


def _different(proof: Proof) -> str:
    if proof.plan.by != "image":
        return f"{proof.different / max(1, len(proof.state.losses)):.1%} different in the mean"
    told = int((proof.members & proof.cannot_tell).sum())
    words = f"{proof.different:.0f} different" if proof.different else "none was different"
    return words + (f" ({told} could not be told, which counts as different)" if told else "")


def record_of(proof: Proof, answers: Answers, time: str, folder: str) -> CertificateRecord:
    """Return what `assignments.json` says of a certificate."""
    plan, state = proof.plan, proof.state
    certified = proof.certified is not None
    least = float(proof.sets.least_confidence[proof.number])
    return CertificateRecord(
        certified=certified,
        statement=statement(proof),
        max_error=plan.max_error,
        confidence=plan.confidence,
        labels=proof.labels if certified else 0,
        least_confidence=round(least, 6) if certified else None,
        unit=plan.by,
        population=state.population,
        checked=len(state.losses),
        different=round(proof.different, 6),
        cannot_tell=int((proof.members & proof.cannot_tell).sum()),
        bound_before=round(proof.bound_before, 6),
        bound_after=round(proof.bound_after, 6),
        answered=len(answers.table),
        readers=answers.readers,
        version=plan.version,
        time=time,
        folder=folder,
    )


def _percent(share: float) -> str:
    """Return a share as percent, with no more digits than it needs.

    >>> _percent(0.05), _percent(0.025)
    ('5%', '2.5%')
    """
    return f"{100 * share:g}%"
