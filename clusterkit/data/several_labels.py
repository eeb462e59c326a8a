"""Cells that hold several labels, where an image has one."""

import re
from collections import defaultdict
from collections.abc import Iterable

from clusterkit.errors import shown

# As a list is written: ['a', 'b'].
_LIST = re.compile(r"\s*[\[({](.*)[\])}]\s*", re.DOTALL)


def several_labels(labels: Iterable[str]) -> str:
    """One line about a label that is several; "" where there is none.

    A label with ``|``, which separates the labels of a set, always is. One with a semicolon or a
    comma is where each of its parts is a label of its own too, or where its parts come in
    different places of other such labels. So ``grade 1, left`` beside ``grade 2, left`` is the
    name of a class, and ``a;b`` beside ``a`` and ``b`` is not.

    >>> several_labels(["a", "b", "a;b"])[:40]
    "label 'a;b' is several: an image has one"
    >>> several_labels(["grade 1, left", "grade 2, left"])
    ''
    """
    known = sorted(set(labels))
    found = next((label for label in known if "|" in label), None)
    for separator in ";,":
        found = found or _combined(known, separator)
    if not found:
        return ""
    return (f"label '{shown(found)}' is several: an image has one label, clusterkit does not do "
            "several; keep one of them in each row, or empty the cell: unlabelled")  # fmt: skip


def _combined(labels: list[str], separator: str) -> str | None:
    parts = {label: _parts(label, separator) for label in labels}
    alone = {names[0] for names in parts.values() if len(names) == 1}
    joined = {label: names for label, names in parts.items() if len(names) > 1}
    places: dict[str, set[int]] = defaultdict(set)
    for names in joined.values():
        for place, name in enumerate(names):
            places[name].add(place)
    for label, names in joined.items():
        if all(name in alone for name in names) or any(len(places[name]) > 1 for name in names):
            return label
    return None


def _parts(label: str, separator: str) -> list[str]:
    """Parts of a label, as they are compared; a label without the separator is one."""
    listed = _LIST.fullmatch(label)
    text = listed[1] if listed else label
    parts = [part.strip(" \t'\"").casefold() for part in text.split(separator)]
    return [part for part in parts if part] or [label]
