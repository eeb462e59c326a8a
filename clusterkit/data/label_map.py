"""Label maps: a table of old and new names by which classes are renamed and merged."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from clusterkit.data.labels import compose_label, escape_unseen, nearest_label, read_label
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError, nearest_name, shown

COLUMNS = ("old", "new")

# Names that a warning gives.
_NAMED = 3


class LabelMap:
    """Names to be replaced; it remembers which of them were met.

    Attributes
    ----------
    names : dict of str to str
        From an old name, as `compose_label` gives it, to the name that it gets in the end.
    """

    def __init__(self, names: Mapping[str, str] | None = None, links: Iterable[str] = ()) -> None:
        self.names = dict(names or {})
        # Names on the way to another need not be in any data.
        self._met = set(links)

    def get(self, label: str) -> str | None:
        """New name of a composed label; None: it keeps its own."""
        new = self.names.get(label)
        if new is not None:
            self._met.add(label)
        return new

    def renamed(self, labels: Iterable[str | None]) -> list[str | None]:
        """Labels as they are read, with their new names but unchecked; None and "" stay."""
        composed = (compose_label(label) if label else label for label in labels)
        return [(self.get(label) or label) if label else label for label in composed]

    def unused(self, labels: Iterable[str | None]) -> str:
        """Sentence on old names that were not met; "" where each was.

        Parameters
        ----------
        labels : iterable of str or None
            All that were read, renamed.
        """
        missing = [old for old in self.names if old not in self._met]
        if not missing:
            return ""
        known, near = sorted({label for label in labels if label}), []
        for old in missing[:_NAMED]:
            other = nearest_label(old, known)
            hint = f" (did you mean '{shown(other)}'?)" if other and other != old else ""
            near.append(f"'{escape_unseen(old)}'{hint}")
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return (f"the label map renames {', '.join(near)}{more}, and nothing has that label; write "
                "it as the data do, case included")  # fmt: skip


def read_label_map(source: Path | str | None) -> LabelMap:
    """Read a table of names to be replaced; None: no name is.

    A chain is followed to its end (a becomes b and b becomes c: both become c), so that a map may
    be used again on labels that it has been used on. An old name may hold whatever labels hold;
    a new one is read as a label is.

    Parameters
    ----------
    source : path or None
        A CSV with columns old and new; others are for its writer.

    Raises
    ------
    DataError
        One line: a column or a name is missing, an old name has two new ones, names lead in a
        circle, or a new name cannot be a label.
    """
    if source is None:
        return LabelMap()
    source = Path(source)
    if not source.is_file():
        raise DataError(f"label map {source} does not exist; give a CSV with columns old and new")
    names, lines, numbers = read_table(source, unit="label")
    for column in COLUMNS:
        if column not in names:
            raise DataError(
                f"{source} has no column '{column}'{nearest_name(column, names)}; a label map has "
                f"columns old and new, this has {shown(', '.join(names), 120)}"
            )
        if names.count(column) > 1:
            raise DataError(f"{source} has {names.count(column)} columns '{column}'; keep one")
    places = [names.index(column) for column in COLUMNS]
    direct: dict[str, str] = {}
    for line, number in zip(lines, numbers, strict=True):
        old, new = _read_row(line[places[0]], line[places[1]], f"{source}, line {number}")
        if direct.setdefault(old, new) != new:
            raise DataError(f"{source}, line {number}: '{escape_unseen(old)}' becomes "
                            f"'{shown(new)}', and '{shown(direct[old])}' in an earlier line; keep "
                            "one")  # fmt: skip
    ends = {old: _end_of(old, direct, source) for old in direct if direct[old] != old}
    return LabelMap(ends, links=set(direct.values()))


def _read_row(old: str, new: str, where: str) -> tuple[str, str]:
    old, new = compose_label(old), read_label(new, where)
    if not old:
        raise DataError(f"{where}: no old label; write the label that is to be renamed, or remove "
                        "the row")  # fmt: skip
    if not new:
        raise DataError(f"{where}: no new label for '{escape_unseen(old)}'; write one, or empty "
                        "the label in the data to leave its images unlabelled")  # fmt: skip
    if "|" in new:
        raise DataError(f"{where}: the new label '{shown(new)}' holds '|', which separates labels "
                        "in assignments.csv; use another character")  # fmt: skip
    return old, new


def _end_of(old: str, direct: dict[str, str], source: Path) -> str:
    path = [old]
    while direct.get(path[-1], path[-1]) != path[-1]:
        path.append(direct[path[-1]])
        if path[-1] in path[:-1]:
            circle = path[path.index(path[-1]) :]
            raise DataError(f"{source}: names lead in a circle, "
                            f"{shown(' → '.join(map(escape_unseen, circle)), 200)}; remove one of "
                            "the rows")  # fmt: skip
    return path[-1]
