"""The promise of an assign in words, for a person."""

from clusterkit.data.splits import why_within_groups
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
    level = _percent(rule.config.assign.confidence)
    parts = [
        f"{label} {_class_part(promise)}"
        for label, promise in zip(rule.run.classes, rule.promises, strict=True)
    ]
    return (
        f"At most {_percent(rule.max_error)} of the labels assigned to each class are wrong"
        f"{_per(rule.promises[0])}, with {level} confidence for all at "
        f"once: {'; '.join(parts)}. Images of a class that nobody labelled are not covered."
        + _unmeasured(rule)
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
        return (
            f"At most {percent} of the assigned labels are wrong{_per(promise)}, with "
            f"{_percent(promise.level)} confidence: {promise.errors} of {promise.accepted} "
            f"held-out images from {promise.units} {unit}s were wrong at confidence "
            f"{promise.threshold:.4f} or above. Images of a class that nobody labelled are not "
            f"covered.{more}"
        )
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
        return (
            f"from confidence {promise.threshold:.4f} ({promise.errors} of {promise.accepted} "
            f"held-out images wrong)"
        )
    if promise.available < promise.needed:
        return f"never ({promise.available} of the {promise.needed} {promise.unit}s it takes)"
    return "never (too many errors)"


def _per(promise: Promise) -> str:
    return " (mean over groups)" if promise.unit == "group" else ""


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"
