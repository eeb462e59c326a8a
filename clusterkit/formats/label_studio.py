"""Label Studio's JSON: the names that `export` writes, and its annotations read as reviews.

Formats: Label Studio's guide, "Label Studio JSON format of annotated tasks" (JSON) and "Export
formats" (JSON_MIN, one flat record an annotation).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from clusterkit.errors import DataError, shown

# The labeling config's object and controls, and the keys of a task's data that come back.
IMAGE, CHOICES, NEW_LABEL = "image", "label", "new_label"
IMAGE_ID, IMAGE_NAME, PREDICTED = "image_id", "image_name", "predicted_label"

# Parsed, JSON takes some ten times the file's size.
MAX_BYTES = 400_000_000

# As much as a cell of reviews.csv may hold.
_MAX_TEXT = 131_072

_MISSING = datetime.min.replace(tzinfo=UTC)


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


def read_label_studio(path: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Read Label Studio's JSON or JSON_MIN export of a project that `export` prepared.

    Of each person's annotations of an image the one updated last counts, but for those marked as
    ground truth, which go before. A choice that is what clusterkit predicted is an accept,
    another one a relabel, and so is a label typed in; a skipped or empty annotation is a skip.
    Tasks that nobody annotated give no row.

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
    # Of each image and person: the row, what orders it, and the number of its task.
    found: dict[str, dict[str, tuple[dict[str, str], tuple[bool, datetime], int]]] = {}
    tasks = _load(path)
    for number, task in enumerate(tasks, 1):
        where = f"{path}, task {number}"
        if not isinstance(task, dict):
            _refuse(where, f"it is {_kind(task)}, and a task is an object")
        for row, at in _rows_of(task, where):
            # JSON_MIN has a record for each annotation, so a task may come again.
            people = found.setdefault(row["image_id"], {})
            rank = (bool(row["ground_truth"]), at)
            if row["reviewer"] not in people or rank >= people[row["reviewer"]][1]:
                people[row["reviewer"]] = (row, rank, number)
    if not found:
        raise DataError(f"{path}: none of its {len(tasks)} tasks has been annotated; label some in "
                        "Label Studio, and export again as JSON")  # fmt: skip
    ordered = [one for people in found.values() for one in sorted(people.values(), key=_rank)]
    return [row for row, _, _ in ordered], [number for _, _, number in ordered]


def _rank(one: tuple[dict[str, str], tuple[bool, datetime], int]) -> tuple[bool, datetime]:
    return one[1]


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
        raise DataError(f"{path} holds {_kind(tasks)}, and Label Studio's JSON export is a list of "
                        "tasks; export the project as JSON or JSON-MIN")  # fmt: skip
    if not tasks:
        raise DataError(f"{path} is an empty list; label some tasks and export again")
    return tasks


def _rows_of(task: dict, where: str) -> Iterator[tuple[dict[str, str], datetime]]:
    whole = "data" in task or "annotations" in task
    data = task.get("data") if whole else task
    if not isinstance(data, dict):
        _refuse(where, f"data is {_kind(data)}, and must be an object")
    annotations = _annotations(task, where) if whole else [_of_record(task)]
    found = [a for a in annotations if a]
    if not found:
        return
    identity = _text(data.get(IMAGE_ID), f"data.{IMAGE_ID}", where)
    if not identity or identity.startswith("cluster:"):
        _refuse(
            where,
            f"data.{IMAGE_ID} '{shown(identity)}' names no image; only projects made by "
            "`clusterkit export --to label-studio` can be read back",
        )
    predicted = _text(data.get(PREDICTED), f"data.{PREDICTED}", where)
    if PREDICTED not in data:
        predicted = _predicted(task, where)
    image = _text(data.get(IMAGE_NAME), f"data.{IMAGE_NAME}", where)
    for annotation in found:
        time, at = _time(annotation, where)
        label = "" if annotation["skipped"] else _label(annotation["result"], where)
        decision = "skip" if not label else "accept" if label == predicted else "relabel"
        row = {"image_id": identity, "image": image, "label": label, "decision": decision,
               "reviewer": _reviewer(annotation["by"], where), "time": time,
               "note": "Label Studio",
               "ground_truth": "yes" if label and annotation["truth"] else ""}  # fmt: skip
        yield row, at


def _annotations(task: dict, where: str) -> list[dict]:
    listed = task.get("annotations", task.get("completions"))
    if not isinstance(listed, list | None):
        _refuse(where, f"annotations are {_kind(listed)}, and must be a list")
    out = []
    for annotation in listed or []:
        if not isinstance(annotation, dict):
            # A snapshot may hold their ids only.
            _refuse(where, f"an annotation is {_kind(annotation)}, and must be an object; export "
                           "the project with complete annotations")  # fmt: skip
        result = annotation.get("result")
        if not isinstance(result, list | None):
            _refuse(where, f"result is {_kind(result)}, and must be a list")
        out.append({
            "result": result or [],
            "skipped": annotation.get("was_cancelled") is True or annotation.get("skipped") is True,
            "truth": annotation.get("ground_truth") is True,
            "by": annotation.get("completed_by"),
            "updated_at": annotation.get("updated_at"),
            "created_at": annotation.get("created_at"),
        })  # fmt: skip
    return out


def _of_record(record: dict) -> dict | None:
    """Return the annotation of a JSON_MIN record; None where nobody made one."""
    values = {"choices": record.get(CHOICES), "textarea": record.get(NEW_LABEL)}
    if record.get("annotation_id") is None and all(v is None for v in values.values()):
        return None
    key = {"choices": "choices", "textarea": "text"}
    result = [{"type": kind, "value": v if isinstance(v, dict) else {key[kind]: v}}
              for kind, value in values.items() if value is not None
              for v in (value if isinstance(value, list) and value
                        and isinstance(value[0], dict) else [value])]  # fmt: skip
    return {
        "result": result,
        "skipped": False,
        "truth": record.get("ground_truth") is True,
        "by": record.get("annotator"),
        "updated_at": record.get("updated_at"),
        "created_at": record.get("created_at"),
    }


def _label(result: list, where: str) -> str:
    """Return what was typed in, else what was chosen; "" for neither."""
    typed = _values(result, "textarea", "text", NEW_LABEL, where)
    chosen = _values(result, "choices", "choices", CHOICES, where)
    found = [v for v in typed if v] or [v for v in chosen if v]
    if len(set(found)) > 1:
        _refuse(where, f"it has {len(set(found))} labels, '{shown(found[0])}' and "
                       f"'{shown(found[-1])}'; keep one")  # fmt: skip
    return found[0] if found else ""


def _values(result: list, kind: str, key: str, name: str, where: str) -> list[str]:
    parts = []
    for part in result:
        if not isinstance(part, dict):
            _refuse(where, f"a result is {_kind(part)}, and must be an object")
        if part.get("type") == kind:
            parts.append(part)
    # A project may have further questions; that of `export` counts, under whatever name.
    parts = [p for p in parts if p.get("from_name") == name] or parts
    out = []
    for part in parts:
        value = part.get("value")
        if not isinstance(value, dict):
            _refuse(where, f"a value is {_kind(value)}, and must be an object")
        texts = value.get(key)
        if not isinstance(texts, list):
            texts = [texts]
        out += [_text(text, key, where) for text in texts]
    return out


def _predicted(task: dict, where: str) -> str:
    predictions = task.get("predictions")
    for prediction in predictions if isinstance(predictions, list) else []:
        result = prediction.get("result") if isinstance(prediction, dict) else None
        if isinstance(result, list):
            found = _values(result, "choices", "choices", CHOICES, where)
            if found:
                return found[0]
    return ""


def _reviewer(by: Any, where: str) -> str:
    """Name a person by the number that Label Studio gave; an address only if it is all there is."""
    if isinstance(by, dict):
        by = by.get("id") if by.get("id") is not None else by.get("email")
    if isinstance(by, int) and not isinstance(by, bool):
        return f"label-studio:{by}"
    return _text(by, "completed_by", where)


def _time(annotation: dict, where: str) -> tuple[str, datetime]:
    for key in ("updated_at", "created_at"):
        text = _text(annotation[key], key, where)
        if not text:
            continue
        try:
            at = datetime.fromisoformat(text)
            return text, at if at.tzinfo else at.replace(tzinfo=UTC)
        except ValueError:
            _refuse(where, f"{key} '{shown(text)}' is no time such as 2026-01-31T12:00:00Z")
    return "", _MISSING


def _text(value: Any, name: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse(where, f"{name} is {_kind(value)}, and must be text")
    if len(value) > _MAX_TEXT:
        _refuse(where, f"{name} has {len(value):,} characters, more than {_MAX_TEXT:,}")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(where, f"{name} '{shown(value)}' holds half a character; write it anew")
    return value.strip()


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false",
             int: "a number", float: "a number", type(None): "null"}  # fmt: skip
    return names[type(value)]


def _refuse(where: str, what: str) -> NoReturn:
    raise DataError(f"{where}: {what}")
