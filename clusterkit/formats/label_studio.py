"""Label Studio's exports: its JSON and JSON_MIN read as reviews, and others recognised.

Formats: Label Studio's guide, "Label Studio JSON format of annotated tasks" (JSON) and "Export
formats" (JSON_MIN, one flat record an annotation; CSV, TSV).
"""

import json
import logging
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from clusterkit.errors import DataError, shown
from clusterkit.formats.label_studio_task import (
    IMAGE_ID,
    IMAGE_NAME,
    PREDICTED,
    REJECT,
    StudioAnnotation,
    annotations_of,
    is_whole,
    kind_of,
    predicted_in,
    refuse,
    text_of,
)

log = logging.getLogger("clusterkit")

# Parsed, JSON takes some ten times the file's size.
MAX_BYTES = 400_000_000

# What Label Studio adds to a project's own columns in CSV and TSV.
_CSV_COLUMNS = {"annotation_id", "annotator", "lead_time"}


class _Found(NamedTuple):
    """A row, what orders it among its image's, its task's number, and what it was made of."""

    row: dict[str, str]
    rank: tuple[bool, datetime]
    number: int
    # Of JSON_MIN.
    flat: bool
    annotation: StudioAnnotation


def looks_like_json(path: Path) -> bool:
    """Whether a file is named as JSON or begins as a JSON list; a CSV of reviews never does."""
    if path.suffix.lower() == ".json":
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def is_label_studio_csv(columns: Collection[str]) -> bool:
    """Whether the columns are those of a CSV or TSV that Label Studio exported."""
    return set(columns) >= _CSV_COLUMNS


def read_label_studio(path: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Read Label Studio's JSON or JSON_MIN export of a project that `export` prepared.

    Of each person's annotations of an image the one updated last counts, but for those marked as
    ground truth, which go before. A choice that is what clusterkit predicted is an accept,
    another one a relabel, and so is a label typed in; `REJECT` is a reject; a skipped or empty
    annotation is a skip. Tasks that nobody annotated give no row. JSON_MIN holds no mark of
    ground truth: where that may decide, it is refused.

    Parameters
    ----------
    path : Path

    Returns
    -------
    rows : list of dict
        image_id, image, label, decision, reviewer, time, note, ground_truth ("yes" or ""); one an
        image and person. Images are in the file's order; of an image the row that holds is last.
    places : list of int
        Of each row the number of its task in the file, from 1.

    Raises
    ------
    DataError
        It is no JSON, no list of tasks, or a task cannot be used: one line that names it.
    """
    tasks = _load(path)
    said: dict[str, list[_Found]] = {}
    for found in _all_found(tasks, path):
        said.setdefault(found.row["image_id"], []).append(found)
    if not said:
        _refuse_unlabelled(tasks, path)
    _check_flat(said, path)
    _warn([found for of_image in said.values() for found in of_image], tasks, path)
    ordered = [one for of_image in said.values() for one in _last_words(of_image)]
    return [found.row for found in ordered], [found.number for found in ordered]


def _last_words(of_image: list[_Found]) -> list[_Found]:
    """Return each person's answer that counts, in the order in which they hold."""
    people: dict[str, _Found] = {}
    for found in of_image:
        before = people.get(found.row["reviewer"])
        if before is None or found.rank >= before.rank:
            people[found.row["reviewer"]] = found
    return sorted(people.values(), key=lambda found: found.rank)


def _check_flat(said: dict[str, list[_Found]], path: Path) -> None:
    """Refuse JSON_MIN where a mark of ground truth, which it does not hold, may decide."""
    doubtful = []
    for of_image in said.values():
        flat = [found for found in of_image if found.flat]
        answers = {_answer(found) for found in flat} - {("skip", "")}
        by_person = {found.row["reviewer"] for found in flat}
        own = {(found.row["reviewer"], _answer(found)) for found in flat}
        if len(answers) > 1 or len(own) > len(by_person):
            doubtful.append(flat)
    if doubtful:
        first, last = doubtful[0][0], doubtful[0][-1]
        words = sorted({found.row["label"] or found.row["decision"] for found in doubtful[0]})
        more = f", and so do those of {len(doubtful) - 1} more images" * (len(doubtful) > 1)
        places = " and ".join(str(n) for n in sorted({first.number, last.number}))
        refuse(f"{path}, task {places}",
               f"the annotations of '{shown(first.row['image'] or first.row['image_id'])}' differ "
               f"('{shown(words[0])}', '{shown(words[-1])}'){more}, and JSON-MIN does not say "
               "which one is ground truth; export the project as JSON")  # fmt: skip


def _warn(every: list[_Found], tasks: list[dict], path: Path) -> None:
    """Say what a file cannot hold, and what it holds that is no answer."""
    if any(found.flat for found in every):
        log.warning("%s is JSON-MIN, which holds no skipped annotations: whoever skipped an image "
                    "after labelling it is taken at the label; JSON holds them", path)  # fmt: skip
    empty = [f for f in every if f.row["decision"] == "skip" and not f.annotation.skipped]
    if empty:
        kinds = ", ".join(sorted(empty[0].annotation.kinds()))
        log.warning("%s: %d submitted annotations hold no label and count as skips, e.g. of task "
                    "%d%s", path, len(empty), empty[0].number,
                    f", which holds {shown(kinds)}" if kinds else "")  # fmt: skip
    drafts = sum(bool(task.get("drafts")) for task in tasks)
    if drafts:
        log.warning("%s: %d tasks hold drafts, which do not count until they are submitted in "
                    "Label Studio", path, drafts)  # fmt: skip


def _answer(found: _Found) -> tuple[str, str]:
    decision = found.row["decision"]
    return ("label" if decision in ("accept", "relabel") else decision), found.row["label"]


def _load(path: Path) -> list:
    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON value")

    def pairs(found: list[tuple[str, Any]]) -> dict:
        values = {}
        for key, value in found:
            if key in values:
                raise ValueError(f"an object has the key '{shown(key)}' twice")
            values[key] = value
        return values

    try:
        if not path.is_file():
            raise DataError(f"{path} is no file; give the JSON that Label Studio exported")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES:,} bytes; export fewer tasks a time")
        text = path.read_bytes().decode("utf-8-sig")
        tasks = json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; export it from Label Studio anew") from error
    except (RecursionError, MemoryError) as error:
        raise DataError(f"{path} is nested too deeply or too large") from error
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({shown(str(error), 120)}); export it from Label Studio as "
            "JSON or JSON-MIN"
        ) from error
    if not isinstance(tasks, list):
        other = ""
        if isinstance(tasks, dict) and {"images", "categories"} <= tasks.keys():
            other = " in COCO's format"
        elif isinstance(tasks, dict) and "categories" in tasks:
            other = " as Label Studio writes it beside YOLO's labels"
        raise DataError(f"{path} holds {kind_of(tasks)}{other}, and Label Studio's JSON export is "
                        "a list of tasks; export the project as JSON or JSON-MIN")  # fmt: skip
    if not tasks:
        raise DataError(f"{path} is an empty list; label some tasks and export again")
    return tasks


def _refuse_unlabelled(tasks: list, path: Path) -> NoReturn:
    if not any("id" in task or "annotations" in task for task in tasks):
        raise DataError(f"{path} holds tasks without annotations, as they are imported into Label "
                        "Studio; give the JSON that it exports after labelling")  # fmt: skip
    drafts = sum(bool(task.get("drafts")) for task in tasks)
    drafted = f"; {drafts} hold drafts, which count once they are submitted" * bool(drafts)
    raise DataError(f"{path}: none of its {len(tasks)} tasks has been annotated; label some in "
                    f"Label Studio, and export again as JSON{drafted}")  # fmt: skip


def _all_found(tasks: list, path: Path) -> Iterator[_Found]:
    """Yield the rows of all tasks."""
    read: list[tuple[int, dict, list[StudioAnnotation]]] = []
    for number, task in enumerate(tasks, 1):
        where = f"{path}, task {number}"
        if not isinstance(task, dict):
            refuse(where, f"it is {kind_of(task)}, and a task is an object")
        read.append((number, task, annotations_of(task, where)))
    any_control = not any(one.asked_by_export() for _, _, found in read for one in found)
    for number, task, annotations in read:
        for one, row, at in _rows_of(task, annotations, f"{path}, task {number}", any_control):
            rank = bool(row["ground_truth"]), at
            yield _Found(row, rank, number, not is_whole(task), one)


def _rows_of(
    task: dict, annotations: list[StudioAnnotation], where: str, any_control: bool
) -> Iterator[tuple[StudioAnnotation, dict[str, str], datetime]]:
    data = task.get("data") if is_whole(task) else task
    if not isinstance(data, dict):
        refuse(where, f"data is {kind_of(data)}, and must be an object")
    if not annotations:
        return
    identity = text_of(data.get(IMAGE_ID), f"data.{IMAGE_ID}", where)
    if not identity or identity.startswith("cluster:"):
        refuse(
            where,
            f"data.{IMAGE_ID} '{shown(identity)}' names no image; only projects made by "
            "`clusterkit export --to label-studio` can be read back",
        )
    predicted = text_of(data.get(PREDICTED), f"data.{PREDICTED}", where)
    if PREDICTED not in data:
        predicted = predicted_in(task, where)
    image = text_of(data.get(IMAGE_NAME), f"data.{IMAGE_NAME}", where)
    for one in annotations:
        time, at = one.time(where)
        label, decision = _decided(one, predicted, where, any_control)
        row = {"image_id": identity, "image": image, "label": label, "decision": decision,
               "reviewer": one.reviewer(where), "time": time, "note": "Label Studio",
               "ground_truth": "yes" if decision != "skip" and one.truth else ""}  # fmt: skip
        yield one, row, at


def _decided(
    one: StudioAnnotation, predicted: str, where: str, any_control: bool
) -> tuple[str, str]:
    label = "" if one.skipped else one.label(where, any_control)
    if label == REJECT:
        return "", "reject"
    return label, "skip" if not label else "accept" if label == predicted else "relabel"
