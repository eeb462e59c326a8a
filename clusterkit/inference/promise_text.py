"""The promise of an assign in words, for a person."""

from clusterkit.methods.risk_control import Promise


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
