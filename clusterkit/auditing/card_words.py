"""Words of a card: what the page and the sheet say of one image, so that both say the same.

The table keeps its numbers; a card shows what they mean. Whatever a card shows comes from
`card_words`, and nothing on it can contradict anything else on it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterkit.auditing.page import Card, Match

# What a person reads for each status of the table.
STATUS_WORDS = {
    "assigned": "Labelled",
    "reviewed": "Labelled by a person",
    "review": "Needs you",
    "novel": "New kind",
    "duplicate": "Copy",
    "failed": "Unreadable",
}

# So many labels are named in a question.
_NAMED = 3
# Level of the bound that says how fine a percentage may be.
_LEVEL = 0.95

_NEAR = re.compile(r"Near duplicate \([\d.]+\) of ")
# What follows is about numbers of the table; a card says it in words of its own.
_NUMBERS = re.compile(r"(Confidence \d|Unlike every labelled image|The same file as the labelled|"
                      r"not certified: less sure than )")  # fmt: skip


@dataclass(frozen=True)
class ShownRecord:
    """What the percentages of a page rest on.

    Attributes
    ----------
    held_out : int or None
        Held-out images that probabilities were measured on; None: not known.
    level : float
        How often label sets hold the true class.
    """

    held_out: int | None = None
    level: float = 0.9

    @property
    def finest(self) -> int:
        """Nearest to 100 that a percentage may come, in whole percents.

        If n of n held-out images were right, the exact 95% bound (Clopper and Pearson 1934,
        doi:10.1093/biomet/26.4.404) says that at least 0.05^(1/n) are.

        >>> ShownRecord(40).finest
        92
        """
        if self.held_out is None:
            return 99
        return math.floor(100 * (1 - _LEVEL) ** (1 / self.held_out)) if self.held_out > 0 else 0

    def percent(self, part: float | None) -> str:
        """Write a probability as finely as the record supports; "": it supports none.

        >>> ShownRecord(40).percent(0.9999), ShownRecord(40).percent(0.537)
        ('at least 92%', '54%')
        """
        finest = self.finest
        if part is None or not math.isfinite(part) or finest <= 50:
            return ""
        shown = self.number(part)
        if shown != math.floor(100 * part + 0.5):
            return f"at least {finest}%" if shown == finest else f"at most {100 - finest}%"
        return f"{shown}%"

    def number(self, part: float) -> int:
        """Return the whole percents that `percent` shows."""
        return min(self.finest, max(100 - self.finest, math.floor(100 * part + 0.5)))


@dataclass(frozen=True)
class CardWords:
    """Texts of one card.

    Attributes
    ----------
    status, title : str
        ``Needs you``; ``dots or ring?``.
    sure : str
        How sure the label is, or why it is a question; "": there is nothing to say.
    candidates : list of str
        Labels that the question names, the likeliest first; one where it is no question.
    why : str
        What else a person should know.
    evidence : list of (name, value)
        For whoever wants to know more.
    captions : list of str
        One for each labelled image that is shown beside it.
    """

    status: str = ""
    title: str = ""
    sure: str = ""
    candidates: list[str] = field(default_factory=list)
    why: str = ""
    evidence: list[tuple[str, str]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)


def card_words(card: "Card", record: ShownRecord) -> CardWords:
    """Say what is known of a card's image.

    The rule: a label that is set stands alone, with how sure it is. What needs a person is a
    question. It names the predicted label, and beside it every label that the evidence leaves
    open: what the classifier and the nearest labelled image say, where they differ, and the label
    set where confidence as it is shown is below the set's own level. A set is never shown by
    itself, so no set of one label stands beside a confidence that does not fit it. A new kind, a
    copy and what a person answered have no confidence: among known kinds it means nothing for the
    first, and a person labelled the others.
    """
    labels = candidates_of(card, record)
    return CardWords(
        status=STATUS_WORDS.get(card.status, card.status),
        title=_title(card, labels),
        sure=_sure(card, labels, record),
        candidates=labels,
        why=_why(card),
        evidence=_evidence(card, record),
        captions=[_caption(card, m, k, record) for k, m in enumerate(card.matches)],
    )


def candidates_of(card: "Card", record: ShownRecord) -> list[str]:
    """Return the labels that a card leaves open, the predicted one first."""
    if card.status in ("novel", "failed"):
        return []
    found = [card.predicted_label] if card.predicted_label else []
    if card.status != "review":
        return found
    found += [label for label in (card.classifier_label, card.nearest_label) if label]
    unsure = card.confidence is None or record.number(card.confidence) < 100 * record.level
    if unsure and card.predicted_label in card.label_set:
        found += card.label_set
    return list(dict.fromkeys(found))


def question(labels: Sequence[str]) -> str:
    """Ask which of some labels is right.

    >>> question(["dots", "ring"]), question(list("abcdef"))
    ('dots or ring?', 'a, b, c or 3 others?')
    """
    if not labels:
        return "Which kind is it?"
    shown, more = list(labels[:_NAMED]), len(labels) - _NAMED
    if more > 0:
        shown.append(f"{more} other{'s' * (more > 1)}")
    *first, last = shown
    return f"{', '.join(first)} or {last}?" if first else f"{last}?"


def _title(card: "Card", labels: list[str]) -> str:
    if card.status == "failed":
        return "No picture"
    if card.status == "novel":
        return "Unlike everything labelled"
    if card.status == "review":
        return question(labels)
    return card.predicted_label or "no label"


def _sure(card: "Card", labels: list[str], record: ShownRecord) -> str:
    shown = record.percent(card.confidence)
    if card.status == "review":
        return f"{_lead(card.reason)}{f' ({shown})' if shown else ''}: {question(labels)}"
    if card.status == "duplicate":
        if card.confidence is not None and card.confidence < 1:
            return ("The same file as an image that was named with its cluster: nobody has looked "
                    "at it.")  # fmt: skip
        return "The same file as a labelled image: it has the label that a person gave."
    if card.status == "reviewed":
        return f"A person answered: {card.predicted_label}."
    if card.status == "assigned" and shown:
        return f"{shown[0].upper()}{shown[1:]} sure"
    return ""


def _lead(reason: str) -> str:
    if "unlike" in reason:
        return "Perhaps a new kind"
    if reason.startswith("not certified"):
        return "Not among the certified labels"
    if "nothing can be promised" in reason or "nothing is promised" in reason:
        return "Nothing can be promised yet"
    return "Not sure enough"


def _why(card: "Card") -> str:
    """Return the part of the table's reason that is no number, and a neighbour that disagrees."""
    if card.status == "failed":
        return card.reason
    own = _NUMBERS.split(card.reason)[0].strip()
    own = own[:1].upper() + own[1:]
    parts = [_NEAR.sub("Almost the same picture as ", own)] if own else []
    if card.status == "assigned" and card.nearest_label not in ("", card.predicted_label):
        parts.append(f"The nearest labelled image is labelled {card.nearest_label}.")
    return " ".join(parts)


def _caption(card: "Card", match: "Match", number: int, record: ShownRecord) -> str:
    if card.status == "novel":
        which = "the nearest labelled image" if number == 0 else "another labelled image"
        return f"{which}, unlike it ({match.label})"
    if card.status == "duplicate":
        original = "the labelled image that it is a copy of"
        return f"{original if match.image == card.duplicate_of else 'labelled'}: {match.label}"
    alike = record.percent(match.similarity)
    return f"labelled {match.label}{f', {alike} similar' if alike else ''}"


def _evidence(card: "Card", record: ShownRecord) -> list[tuple[str, str]]:
    novel, copy = card.status == "novel", card.status == "duplicate"
    answered = card.status == "reviewed"
    said = "" if novel or copy else record.percent(card.classifier_probability)
    # It was measured for what the model said, which a person may have changed.
    other = novel or copy or answered
    alike = "" if other else record.percent(card.similarity)
    unlike = record.percent(card.novelty_p)
    rows = [
        ("classifier says", f"{card.classifier_label}{f', {said}' if said else ''}"),
        ("nearest labelled image", "" if copy else card.nearest_image),
        ("it is labelled", "" if copy else card.nearest_label),
        ("similarity to the label", alike),
        ("kinds compared", ", ".join(card.gate)),
        ("known images as odd", unlike),
        ("copy of" if copy else "almost a copy of", card.duplicate_of),
        ("to look at", "" if card.order is None or answered else f"as number {card.order}"),
        ("group", card.group),
        ("image id", card.image_id),
    ]  # fmt: skip
    return [(name, value) for name, value in rows if value]
