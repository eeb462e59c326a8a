"""The promise of an assign in words, for a person, and what label sets and novelty rest on."""

import numpy as np

from clusterkit.data.splits import why_within_groups
from clusterkit.formats.assignment_record import LabelSetRecord, TransductionRecord
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.methods.risk_control import Promise


def promise_text(rule: DecisionRule) -> str:
    """Return the promise in words, or why there is none."""
    if not rule.promises:
        return "Nothing is promised: every readable image was assigned, as asked for."
    if rule.calibration.within_groups:
        return _within_groups(rule)
    if not rule.config.assign.per_class:
        return _sentence(rule.promises[0]) + _unmeasured(rule)
    parts = [
        f"{label}: {_class_part(promise)}"
        for label, promise in zip(rule.run.classes, rule.promises, strict=True)
    ]
    return (
        f"{_of_hundred(rule.promises[0], ' of each class', ' of all at once')} "
        f"{'; '.join(parts)}. {_NOT_COVERED}" + _unmeasured(rule)
    )


def _within_groups(rule: DecisionRule) -> str:
    """Return why nothing is promised where groups were not held out whole."""
    level = _percent(rule.config.assign.confidence)
    return (
        f"Nothing is promised and nothing assigned: {why_within_groups(rule.run.manifest)}. Errors "
        "were measured on other images of the same groups, which is optimistic and says nothing of "
        f"other groups; nor do label sets hold the true class with {level} there. Label images of "
        "several classes in more groups; --max-error none assigns everything without a promise."
    )


def remarks(rule: DecisionRule) -> list[str]:
    """Return sentences on what label sets and the status novel cannot say."""
    found = []
    sets = rule.label_set_record()
    if sets.in_every_set:
        found.append(_sets_text(rule, sets))
    few = [words for words, is_few in zip(rule.labelled_of_classes, rule.untestable, strict=True)
           if is_few]  # fmt: skip
    if few and rule.promises and not rule.calibration.within_groups:
        start = "" if len(few) == 1 else f"{len(few)} classes, e.g.: "
        found.append(f"{start}{few[0]}, too few to tell whether an image is unlike them; images "
                     "like them are never called novel")  # fmt: skip
    return [text[0].upper() + text[1:] + "." for text in found]


def picture_remarks(unseen: int, images: int, labelled: int) -> list[str]:
    """Return sentences on what is not known of images that have features and no picture.

    Parameters
    ----------
    unseen : int
        Such images of the batch.
    images : int
        All of its images.
    labelled : int
        Such labelled images of the run.
    """
    found = []
    if unseen:
        found.append(f"{unseen} of {images} images are not there or cannot be read: whether they "
                     "are copies of labelled images under other names is not known.")  # fmt: skip
    if labelled:
        found.append(f"{labelled} labelled images were not there when the run was fitted: copies "
                     "of them are not found, and novelty is told by features alone.")  # fmt: skip
    elif unseen:
        found.append("Of those, novelty is told by features alone.")
    return found


def transduction_remarks(record: TransductionRecord) -> list[str]:
    """Return a sentence on labels that rest on the other images of the batch; none: none do."""
    if not record.used:
        return []
    return [f"{record.images:,} images of this batch helped to label each other ({record.why}): in "
            "another batch an image may get another label. With assign.transduction = 'off' none "
            "depends on the others."]  # fmt: skip


def _sets_text(rule: DecisionRule, sets: LabelSetRecord) -> str:
    named, labels = sets.in_every_set, rule.calibration.labels
    always = [rule.run.classes.index(label) for label in named]
    held_out = int(np.isin(labels, always).sum())
    level = _percent(sets.level or 0.0)
    if len(named) == len(rule.run.classes):
        return (f"every label set at {level} holds all classes: {held_out} images were held out, "
                f"and it takes {sets.needed}")  # fmt: skip
    who = f"class '{named[0]}'" if len(named) == 1 else f"{len(named)} classes, e.g. '{named[0]}',"
    of, verb = ("its", "is") if len(named) == 1 else ("their", "are")
    return (f"{who} {verb} in every label set at {level}: {held_out} of {of} images were held "
            f"out, and it takes {sets.needed}")  # fmt: skip


def _unmeasured(rule: DecisionRule) -> str:
    """Return a sentence on classes of which no image was held out; "": there are none."""
    missing = [c for c, m in zip(rule.run.classes, rule.measured, strict=True) if not m]
    if not missing:
        return ""
    return (
        f" Nothing is assigned as {', '.join(missing)}: none of its images could be held out "
        "to measure errors on."
    )


def _sentence(promise: Promise) -> str:
    percent, unit = _percent(promise.max_error), promise.unit
    more = ""
    if promise.more:
        more = f" About {promise.more} more labelled {unit}s would let more be assigned."
    if promise.threshold is not None:
        return f"{_of_hundred(promise)} {_tested(promise)} {_NOT_COVERED}{more}"
    if promise.available < promise.needed:
        return (
            f"Nothing could be assigned: labels from {promise.available} {unit}s were held out, "
            f"and it takes at least {promise.needed}, all labelled rightly, to promise at most "
            f"{percent} error. Label more {unit}s, or ask for a larger --max-error."
        )
    return (
        f"Nothing could be assigned: even the most confident {promise.needed} of "
        f"{promise.available} held-out {unit}s had too many errors to promise at most {percent}. "
        f"Label more images, or ask for a larger --max-error.{more}"
    )


def _class_part(promise: Promise) -> str:
    if promise.threshold is not None:
        return f"{promise.errors} of {promise.accepted} held-out images wrong"
    if promise.available < promise.needed:
        return f"none set ({promise.available} of the {promise.needed} {promise.unit}s it takes)"
    return "none set (too many errors)"


def _of_hundred(promise: Promise, whose: str = "", sure_of: str = "") -> str:
    """Say how many labels may be wrong, as a frequency.

    With groups the promise is about the mean over groups, see `choose_threshold`.
    """
    each = ", each group counting the same" if promise.unit == "group" else ""
    wrong, labels = _frequency(promise.max_error)
    return (f"Of every {labels} labels set here{whose}, at most {wrong} {_are(wrong)} wrong "
            f"({_percent(promise.level)} sure{sure_of}{each}).")  # fmt: skip


def _frequency(part: float) -> tuple[str, str]:
    """Return whole numbers whose ratio is a share, with three digits at most: wrong, of labels."""
    shown = float(f"{part:.3g}")
    for power in range(2, 9):
        wrong = shown * 10**power
        if wrong >= 1 and abs(wrong - round(wrong)) < 1e-6:
            return f"{round(wrong):,}", f"{10**power:,}"
    return f"{100 * shown:.3g}", "100"


def _are(count: str) -> str:
    return "is" if count == "1" else "are"


def _tested(promise: Promise) -> str:
    of = f" of {promise.units} {promise.unit}s" if promise.unit == "group" else ""
    return f"Tested on {promise.accepted} held-out images{of}: {promise.errors} wrong."


_NOT_COVERED = "Not covered: kinds that nobody labelled, another scanner."


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"
