"""What a person said in a FiftyOne dataset, read as reviews.

An answer is the label in the field `review`, another label in the place of the exported one, or
one of the tags accept, reject and skip.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from clusterkit.errors import DataError, shown

# Fields of a sample, and the attribute of an exported label that says what it was.
IMAGE_ID, IMAGE_NAME = "image_id", "image_name"
PREDICTION, GROUND_TRUTH, REVIEW, REVIEW_TIME = (
    "prediction",
    "ground_truth",
    "review",
    "review_time",
)
EXPORTED = "exported"

# A person's tags, which are decisions.
ACCEPT = "accept"
DECISION_TAGS = (ACCEPT, "reject", "skip")

# A class in `review` that is no answer: the App begins with the first one, as soon as it is asked
# for a label, and that must not be somebody's diagnosis.
UNDECIDED = "?"

# Tag of samples that an earlier export made and the last one did not.
EARLIER = "earlier"


@dataclass(frozen=True)
class LabelThere:
    """A label as it is in a sample.

    Attributes
    ----------
    label : str
        "" where there is none.
    exported : str
        What `export` wrote there; "" where a person made it.
    tags : tuple of str
        Tags of the label itself.
    """

    label: str = ""
    exported: str = ""
    tags: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a person wrote it."""
        return self.label not in ("", self.exported)


@dataclass(frozen=True)
class SampleThere:
    """What a sample says, in plain values.

    Attributes
    ----------
    image_id, image_name : str
    given : LabelThere
        The prediction, or the known label of a labelled image.
    review : str
        Label in the field `review`; "" where there is none.
    tags : tuple of str
        Of the sample.
    time : datetime or None
        When it was last changed by a person, as far as is known.
    reviewer : str
        Who made the review, where it says so.
    """

    image_id: str
    image_name: str = ""
    given: LabelThere = field(default_factory=LabelThere)
    review: str = ""
    tags: tuple[str, ...] = ()
    time: datetime | None = None
    reviewer: str = ""

    @property
    def decisions(self) -> list[str]:
        """The tags of it and of its label that are decisions."""
        found = {tag.strip().casefold() for tag in (*self.tags, *self.given.tags)}
        return [tag for tag in DECISION_TAGS if tag in found]

    @property
    def answered(self) -> bool:
        """Whether a person said anything of it."""
        return bool(self.review or self.given.changed or self.decisions)


def review_of(sample: SampleThere, where: str) -> dict[str, str] | None:
    """Return the review that a sample holds, with the keys of `reviews.csv`; None: it holds none.

    Parameters
    ----------
    sample : SampleThere
    where : str
        Names the sample in messages.

    Raises
    ------
    DataError
        What is said there contradicts itself, or accepts where nothing was predicted.

    Examples
    --------
    >>> given = LabelThere("ring", exported="ring")
    >>> review_of(SampleThere("0a1b", given=given, review="rod"), "x")["decision"]
    'relabel'
    >>> review_of(SampleThere("0a1b", given=given, tags=("review", "accept")), "x")["label"]
    'ring'
    >>> review_of(SampleThere("0a1b", given=given, tags=("review",)), "x") is None
    True
    """
    if not sample.answered:
        return None
    label = _label(sample, where)
    decision = _decision(sample, label, where)
    if decision == ACCEPT:
        label = sample.given.exported
    return {
        "image_id": sample.image_id,
        "image": sample.image_name,
        "label": label if decision in ("accept", "relabel") else "",
        "decision": decision,
        "reviewer": sample.reviewer or "fiftyone",
        "time": _time_text(sample.time),
        "note": "FiftyOne",
    }


def _label(sample: SampleThere, where: str) -> str:
    """Return the label that a person wrote; "" for none."""
    changed = sample.given.label if sample.given.changed else ""
    if sample.review and changed and sample.review != changed:
        _refuse(where, f"its label was changed to '{shown(changed)}' and its field {REVIEW} says "
                       f"'{shown(sample.review)}'; make them equal, or clear one")  # fmt: skip
    return sample.review or changed


def _decision(sample: SampleThere, label: str, where: str) -> str:
    exported, tags = sample.given.exported, sample.decisions
    if len(tags) > 1:
        _refuse(where, f"it has the tags {' and '.join(tags)}; keep one")
    tag = tags[0] if tags else ""
    if tag == ACCEPT and not label and not exported:
        _refuse(where, "it has the tag accept, and no label was predicted for it; write the true "
                       f"label into the field {REVIEW}")  # fmt: skip
    if label and (tag in ("reject", "skip") or (tag == ACCEPT and label != exported)):
        _refuse(where, f"it has the tag {tag} and the label '{shown(label)}', where '"
                       f"{shown(exported)}' was exported; remove one of them")  # fmt: skip
    return tag or ("accept" if label == exported else "relabel")


def _time_text(time: datetime | None) -> str:
    if time is None:
        return ""
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _refuse(where: str, what: str) -> NoReturn:
    raise DataError(f"{where}: {what}")
