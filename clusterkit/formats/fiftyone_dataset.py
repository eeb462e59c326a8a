"""A FiftyOne dataset that `export` made, read as reviews; see `fiftyone_answers`."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clusterkit.errors import DataError, shown
from clusterkit.formats.fiftyone_answers import (
    DECISION_TAGS,
    EARLIER,
    EXPORTED,
    GROUND_TRUTH,
    IMAGE_ID,
    IMAGE_NAME,
    PREDICTION,
    REVIEW,
    REVIEW_TIME,
    UNDECIDED,
    LabelThere,
    SampleThere,
    review_of,
)
from clusterkit.formats.fiftyone_database import FORMAT, RUN, about, fiftyone_database

log = logging.getLogger("clusterkit")

PREFIX = "fiftyone:"

_READ = ("filepath", "tags", "last_modified_at", IMAGE_ID, IMAGE_NAME, PREDICTION, GROUND_TRUTH,
         REVIEW, REVIEW_TIME)  # fmt: skip


@dataclass(frozen=True)
class DatasetAnswers:
    """The reviews that a dataset holds.

    Attributes
    ----------
    rows : list of dict
        As `review_of` returns them, and `assignments`: the fingerprint of the exported ones.
    places : list of int
        Of each row the number of its sample, from 1.
    """

    rows: list[dict[str, str]]
    places: list[int]


def is_fiftyone(name: object) -> bool:
    """Whether the name of reviews is that of a dataset, not of a file."""
    return str(name).startswith(PREFIX)


def dataset_name(name: object) -> str:
    """Return the dataset's name without `PREFIX`.

    Raises
    ------
    DataError
        It is empty, or there is no prefix.
    """
    text = str(name)
    if not is_fiftyone(text) or not text.removeprefix(PREFIX).strip():
        raise DataError(f"'{shown(text)}' names no FiftyOne dataset; write fiftyone:NAME, as "
                        "`fiftyone datasets list` shows it")  # fmt: skip
    return text.removeprefix(PREFIX)


def read_fiftyone(name: str) -> DatasetAnswers:
    """Read the reviews that a dataset holds; see `review_of`.

    Parameters
    ----------
    name : str
        ``fiftyone:NAME``.

    Raises
    ------
    ClusterkitError
        There is no such dataset, no database, nothing was answered, or an answer contradicts
        itself.
    """
    dataset = dataset_name(name)
    with fiftyone_database(f"the dataset {shown(dataset)} was read") as fo:
        loaded = load_dataset(fo, dataset)
        fingerprint = about(loaded).get("fingerprint")
        samples = list(samples_there(loaded))
    found = DatasetAnswers([], [])
    left_out: list[tuple[str, str]] = []
    for number, (sample, path) in enumerate(samples, 1):
        if sample.answered and not sample.image_id:
            left_out.append((path, "no image_id: no export made them"))
            continue
        if sample.answered and EARLIER in sample.tags:
            left_out.append((sample.image_name, "the last export did not write them any more"))
            continue
        where = f"{name}, sample {number} ('{shown(sample.image_name or path)}')"
        row = review_of(sample, where)
        if row is not None:
            of = fingerprint if isinstance(fingerprint, str) else ""
            found.rows.append(row | {"assignments": of})
            found.places.append(number)
    for why in dict.fromkeys(why for _, why in left_out):
        images = [image for image, reason in left_out if reason == why]
        log.warning("%s: %d samples with answers, e.g. '%s', are left out: %s", name, len(images),
                    shown(images[0]), why)  # fmt: skip
    if not found.rows:
        raise DataError(f"{name}: none of its {len(samples)} samples holds an answer that can be "
                        f"used; write true labels into the field {REVIEW}, or set the tags "
                        f"{', '.join(DECISION_TAGS)}")  # fmt: skip
    return found


@dataclass(frozen=True)
class ExportedFrom:
    """What a dataset notes of its last export; "" where it does not.

    Attributes
    ----------
    assignments : str
        Folder of the assignments.
    run : str
        Folder of the run.
    run_id : str
    """

    assignments: str
    run: str
    run_id: str


def exported_from(name: str) -> ExportedFrom:
    """Return of what a dataset was made; `name` is ``fiftyone:NAME``."""
    dataset = dataset_name(name)
    with fiftyone_database(f"the dataset {shown(dataset)} was read") as fo:
        loaded = load_dataset(fo, dataset)
        run_id, found = loaded.info.get(RUN), about(loaded)
    return ExportedFrom(*(str(v or "") for v in (found.get("assignments"), found.get("run"),
                                                 run_id)))  # fmt: skip


def load_dataset(fo: Any, name: str) -> Any:
    """Return a dataset.

    Raises
    ------
    DataError
        There is none of this name.
    """
    if not fo.dataset_exists(name):
        known = fo.list_datasets()
        have = ", ".join(known[:5]) + f" and {len(known) - 5} more" * (len(known) > 5)
        raise DataError(f"FiftyOne has no dataset '{shown(name)}'; it has {have or 'none'}")
    return fo.load_dataset(name)


def samples_there(dataset: Any) -> Iterator[tuple[SampleThere, str]]:
    """Yield what each sample says, and its file, in the dataset's order.

    Raises
    ------
    DataError
        No export made the dataset.
    """
    there = set(dataset.get_field_schema())
    if IMAGE_ID not in there:
        raise DataError(
            f"FiftyOne's dataset '{shown(dataset.name)}' has no field {IMAGE_ID}; only datasets "
            "made by `clusterkit export --to fiftyone` can be read back"
        )
    info = about(dataset)
    known, written = info.get("format") == FORMAT, _moment(info.get("exported_at"))
    # Not `len(dataset)`: after a database was killed, its count of documents is an estimate.
    blank = [None] * len(dataset.values("id"))
    columns = [dataset.values(f) if f in there else blank for f in _READ]
    for path, tags, at, image_id, name, predicted, truth, review, kept in zip(
        *columns, strict=True
    ):
        labels = [label_there(v, known) for v in (predicted, truth)]
        # What export writes changes the time of a sample too.
        time = at if written is None or (at and _naive(at) > written) else kept
        yield SampleThere(
            image_id=_text(image_id),
            image_name=_text(name),
            given=_given(labels),
            review=_decided(_text(getattr(review, "label", review))),
            tags=tuple(tags or ()),
            time=time,
            reviewer=_text(getattr(review, "reviewer", None)),
        ), str(path)  # fmt: skip


def _given(labels: list[LabelThere]) -> LabelThere:
    """Return of a prediction and a known label the one that a person changed, else the first."""
    there = [one for one in labels if one.label or one.exported]
    return next((one for one in there if one.changed), there[0] if there else LabelThere())


def label_there(value: Any, known: bool) -> LabelThere:
    """Return a Classification in plain values; `known`: exported labels say so."""
    if value is None:
        return LabelThere()
    label = _text(getattr(value, "label", None))
    exported = _text(getattr(value, EXPORTED, None)) if known else label
    return LabelThere(label, exported, tuple(getattr(value, "tags", None) or ()))


def _decided(label: str) -> str:
    return "" if label == UNDECIDED else label


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
