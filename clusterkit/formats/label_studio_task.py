"""One task of Label Studio's JSON, or one record of JSON_MIN: its annotations, read and checked."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from clusterkit.errors import DataError, shown

# The labeling config's object and controls, and the keys of a task's data that come back.
IMAGE, CHOICES, NEW_LABEL = "image", "label", "new_label"
IMAGE_ID, IMAGE_NAME, PREDICTED = "image_id", "image_name", "predicted_label"

# The choice for a wrong prediction whose truth is not known. No class can be called so: '|'
# separates labels.
REJECT = "|reject|"

# As much as a cell of reviews.csv may hold.
_MAX_TEXT = 131_072

_MISSING = datetime.min.replace(tzinfo=UTC)

# What holds the answer, by the type of a result.
_KEYS = {"choices": "choices", "textarea": "text"}


@dataclass(frozen=True)
class StudioAnnotation:
    """What one person said of one task.

    Attributes
    ----------
    result : list
        As it is in the file: choices, texts, and whatever else a project asks for.
    skipped : bool
    truth : bool
        It is marked as ground truth.
    by : object
        Whom Label Studio names, in whatever form.
    updated_at, created_at : object
    """

    result: list
    skipped: bool
    truth: bool
    by: Any
    updated_at: Any
    created_at: Any

    def kinds(self) -> set[str]:
        """Return the types of its results."""
        return {str(part.get("type")) for part in self.result if isinstance(part, dict)}

    def asked_by_export(self) -> bool:
        """Whether a result is of one of the controls that `export` writes."""
        return any(isinstance(part, dict) and part.get("from_name") in (CHOICES, NEW_LABEL)
                   for part in self.result)  # fmt: skip

    def label(self, where: str, any_control: bool = True) -> str:
        """Return what was typed in, else what was chosen; "" for neither.

        Parameters
        ----------
        where : str
            The file and the task, for messages.
        any_control : bool
            Where the controls that `export` writes say nothing, those of other names count.

        Raises
        ------
        DataError
            There are two, or no such thing can be read.
        """
        typed = _values(self.result, "textarea", NEW_LABEL, where, any_control)
        chosen = _values(self.result, "choices", CHOICES, where, any_control)
        found = [v for v in typed if v] or [v for v in chosen if v]
        if len(set(found)) > 1:
            refuse(where, f"it has {len(set(found))} labels, '{shown(found[0])}' and "
                          f"'{shown(found[-1])}'; keep one")  # fmt: skip
        return found[0] if found else ""

    def reviewer(self, where: str) -> str:
        """Name a person by Label Studio's number; by an address only if it is all there is."""
        by = self.by
        if isinstance(by, dict):
            by = by.get("id") if by.get("id") is not None else by.get("email")
        if isinstance(by, int) and not isinstance(by, bool):
            return f"label-studio:{by}"
        return text_of(by, "completed_by", where)

    def time(self, where: str) -> tuple[str, datetime]:
        """Return when it was updated last, as it is written and to be compared."""
        for key, value in (("updated_at", self.updated_at), ("created_at", self.created_at)):
            text = text_of(value, key, where)
            if not text:
                continue
            try:
                at = datetime.fromisoformat(text)
                return text, at if at.tzinfo else at.replace(tzinfo=UTC)
            except ValueError:
                refuse(where, f"{key} '{shown(text)}' is no time such as 2026-01-31T12:00:00Z")
        return "", _MISSING


def is_whole(task: dict) -> bool:
    """Whether it is a task of JSON, and no record of JSON_MIN."""
    return "data" in task or "annotations" in task


def annotations_of(task: dict, where: str) -> list[StudioAnnotation]:
    """Return the annotations of a task, or that of a JSON_MIN record.

    Raises
    ------
    DataError
        One of them is none.
    """
    if not is_whole(task):
        found = _of_record(task)
        return [] if found is None else [found]
    listed = task.get("annotations", task.get("completions"))
    if not isinstance(listed, list | None):
        refuse(where, f"annotations are {kind_of(listed)}, and must be a list")
    out = []
    for one in listed or []:
        if not isinstance(one, dict):
            # A snapshot may hold their ids only.
            refuse(where, f"an annotation is {kind_of(one)}, and must be an object; export "
                          "the project with complete annotations")  # fmt: skip
        result = one.get("result")
        if not isinstance(result, list | None):
            refuse(where, f"result is {kind_of(result)}, and must be a list")
        out.append(StudioAnnotation(
            result or [], one.get("was_cancelled") is True or one.get("skipped") is True,
            one.get("ground_truth") is True, one.get("completed_by"),
            one.get("updated_at"), one.get("created_at"),
        ))  # fmt: skip
    return out


def predicted_in(task: dict, where: str) -> str:
    """Return what a task's first prediction chose; "" where it has none."""
    predictions = task.get("predictions")
    for prediction in predictions if isinstance(predictions, list) else []:
        result = prediction.get("result") if isinstance(prediction, dict) else None
        if isinstance(result, list):
            found = _values(result, "choices", CHOICES, where)
            if found:
                return found[0]
    return ""


def text_of(value: Any, name: str, where: str) -> str:
    """Return text without blanks around it; "" for null.

    Raises
    ------
    DataError
        It is no text, too long, or cannot be written.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(where, f"{name} is {kind_of(value)}, and must be text")
    if len(value) > _MAX_TEXT:
        refuse(where, f"{name} has {len(value):,} characters, more than {_MAX_TEXT:,}")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(where, f"{name} '{shown(value)}' holds half a character; write it anew")
    return value.strip()


def kind_of(value: Any) -> str:
    """Name the type of a JSON value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false",
             int: "a number", float: "a number", type(None): "null"}  # fmt: skip
    return names[type(value)]


def refuse(where: str, what: str) -> NoReturn:
    """Raise the DataError of a task."""
    raise DataError(f"{where}: {what}")


def _of_record(record: dict) -> StudioAnnotation | None:
    """Return the annotation of a JSON_MIN record; None where nobody made one."""
    values = {"choices": record.get(CHOICES), "textarea": record.get(NEW_LABEL)}
    if record.get("annotation_id") is None and all(v is None for v in values.values()):
        return None
    names = {"choices": CHOICES, "textarea": NEW_LABEL}
    result = [{"type": kind, "from_name": names[kind],
               "value": v if isinstance(v, dict) else {_KEYS[kind]: v}}
              for kind, value in values.items() if value is not None
              for v in (value if isinstance(value, list) and value
                        and isinstance(value[0], dict) else [value])]  # fmt: skip
    return StudioAnnotation(result, False, record.get("ground_truth") is True,
                            record.get("annotator"), record.get("updated_at"),
                            record.get("created_at"))  # fmt: skip


def _values(result: list, kind: str, name: str, where: str, any_control: bool = True) -> list[str]:
    parts = []
    for part in result:
        if not isinstance(part, dict):
            refuse(where, f"a result is {kind_of(part)}, and must be an object")
        if part.get("type") == kind:
            parts.append(part)
    # A project may have further questions: "good" of another one would be taken for a class.
    own = [p for p in parts if p.get("from_name") == name]
    parts = own or (parts if any_control else [])
    out = []
    for part in parts:
        value = part.get("value")
        if not isinstance(value, dict):
            refuse(where, f"a value is {kind_of(value)}, and must be an object")
        texts = value.get(_KEYS[kind])
        if not isinstance(texts, list):
            texts = [texts]
        out += [text_of(text, _KEYS[kind], where) for text in texts]
    return out
