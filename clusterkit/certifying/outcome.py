"""The labels after a certificate: who is `assigned`, who is `reviewed`, and what is said of it."""

import math

import pandas as pd

from clusterkit.certifying.answers import Answers
from clusterkit.certifying.finding import Finding
from clusterkit.formats.certificate_record import CertificateRecord

# Columns that say how sure the model was; a person's label has no such thing.
_WHOLE_SURE = 1.0


def certified_table(table: pd.DataFrame, finding: Finding, answers: Answers) -> pd.DataFrame:
    """Return a table of assignments after a certificate.

    What a person answered is `reviewed`, with their label; what nobody could tell, or readers
    dispute, goes to `review`. Of the others, the certified set is `assigned` and what had been
    assigned beyond it goes back to `review`; where nothing is certified they stay as they are.
    Clusters keep their numbers, so that reviews that name one still mean the same images.

    Parameters
    ----------
    table : DataFrame
        As `assign` wrote it.
    finding : Finding
    answers : Answers
    """
    out = table.copy()
    population, ids = finding.population, out["image_id"]
    free = ~out["status"].isin(["duplicate", "failed"])
    if finding.certified is not None:
        inside = free & ids.isin(population.table["image_id"][finding.members])
        beyond = free & ~inside & (out["status"] == "assigned")
        out.loc[inside, "status"] = "assigned"
        out.loc[inside, "order"] = pd.NA
        least = finding.sets.least_confidence[finding.number]
        out.loc[inside, "reason"] = f"certified by a random check of {len(finding.state.losses)}"
        out.loc[beyond, "status"] = "review"
        out.loc[beyond, "reason"] = f"not certified: less sure than {least:.1%}"
    given = answers.table.set_index("image_id")
    for row in out.index[free & ids.isin(given.index)]:
        _answer(out, row, given.loc[ids.at[row]])
    return out


def _answer(out: pd.DataFrame, row: int, answer: pd.Series) -> None:
    """Put one answer into its row."""
    if answer["disputed"]:
        out.at[row, "status"] = "review"
        out.at[row, "reason"] = f"readers disagree: {answer['disputed']}"
        return
    if not answer["label"]:
        out.at[row, "status"] = "review"
        out.at[row, "reason"] = f"{answer['reviewer']} could not tell"
        return
    was = answer["predicted_label"]
    out.at[row, "status"] = "reviewed"
    out.at[row, "reason"] = f"answered by {answer['reviewer']}" + (
        f"; the model had said {was}" if was != answer["label"] else ""
    )
    out.at[row, "predicted_label"] = out.at[row, "label_set"] = answer["label"]
    out.at[row, "confidence"], out.at[row, "order"] = _WHOLE_SURE, pd.NA


def statement(finding: Finding) -> str:
    """Return the finding in words, for a person."""
    plan, state = finding.plan, finding.state
    whole = plan.by == "image"
    what = f"{finding.labels:,} labels" + ("" if whole else f" of {state.population:,} patients")
    sure = f"{plan.confidence:.0%} sure"
    checked = f"{len(state.losses):,} of {state.population:,} were checked in random order"
    if len(state.losses) == state.population:
        return _all_checked(finding, what)
    if finding.certified is None:
        share = finding.bound_before / state.population
        return (f"Not certified. Of the {what} that the model is surest of, {checked}, "
                f"{_different(finding)}: at most {share:.1%} were wrong as set ({sure}), and "
                f"{_percent(plan.max_error)} was asked for.")  # fmt: skip
    most = _percent(plan.max_error)
    if not whole:
        return (f"In the mean over patients at most {most} of the {what} were wrong as set "
                f"({sure}): {checked}, {_different(finding)}.")  # fmt: skip
    left = finding.labels - int((~pd.isna(finding.wrong[finding.members])).sum())
    return (f"Of the {what} at most {most}, {finding.bound_before:,.0f}, were wrong as set "
            f"({sure}): {checked}, {_different(finding)}. What was found is corrected: of the "
            f"{left:,} that nobody checked at most {finding.bound_after:,.0f} "
            "are wrong.")  # fmt: skip


def _all_checked(finding: Finding, what: str) -> str:
    words = "certified" if finding.certified is not None else "not certified as set"
    return f"All {what} were checked by a person, {_different(finding)}: {words}, and corrected."


def _different(finding: Finding) -> str:
    found = finding.different
    if finding.plan.by != "image":
        return f"{found:.1f} of the patients' labels different"
    inside = finding.members & finding.cannot_tell
    told = int(inside.sum())
    words = "none was different" if not found else f"{found:.0f} different"
    return words + (f" ({told} could not be told, which counts as different)" if told else "")


def record_of(finding: Finding, answers: Answers, time: str, folder: str) -> CertificateRecord:
    """Return what `assignments.json` says of a certificate."""
    plan, state = finding.plan, finding.state
    certified = finding.certified is not None
    least = float(finding.sets.least_confidence[finding.number])
    return CertificateRecord(
        certified=certified,
        statement=statement(finding),
        max_error=plan.max_error,
        confidence=plan.confidence,
        labels=finding.labels if certified else 0,
        least_confidence=round(least, 6) if certified else None,
        unit=plan.by,
        population=state.population,
        checked=len(state.losses),
        different=round(finding.different, 6),
        cannot_tell=int((finding.members & finding.cannot_tell).sum()),
        bound_before=round(finding.bound_before, 6),
        bound_after=round(finding.bound_after, 6),
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
    text = f"{100 * share:.6f}".rstrip("0").rstrip(".")
    return f"{text}%" if math.isfinite(share) else "100%"
