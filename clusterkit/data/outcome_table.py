"""Outcomes of patients: a CSV with one row per group, joined to the groups of a run."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.data.pseudonyms import hash_group
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError, nearest_name

log = logging.getLogger("clusterkit")

# An outcome as it is in the table: text, a number, or unknown.
Cell = str | float | None

# Not float(): it also takes "1_000", "nan" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

# In a column of numbers these mean that a number is missing, or is none; among words they may be
# an outcome.
_NO_NUMBER = {"", "na", "n/a", "nan", "null", "none", "unknown", "missing", "-", "?", ".", "inf",
              "+inf", "-inf", "infinity"}  # fmt: skip


def group_key(name: str, key: bytes | None = None) -> tuple[str, ...]:
    """Names under which a run may have the group that a person calls `name`.

    Parameters
    ----------
    key : bytes or None
        Key of the run's hashes of patient ids (`data.pseudonyms`); None: they are not hashed.

    >>> group_key("p07")
    ('p07',)
    >>> group_key("4711", b"sixteen bytes or more")
    ('4711', 'patient-645fc47328abdeed', 'study-645fc47328abdeed', 'series-645fc47328abdeed')
    """
    kinds = () if key is None else ("patient", "study", "series")
    return (name, *(hash_group(kind, name, key or b"") for kind in kinds))


def find_group(name: str, groups: set[str], key: bytes | None = None) -> str | None:
    """Group of a run that a person calls `name`; None: there is none."""
    return next((found for found in group_key(name, key) if found in groups), None)


def read_outcomes(
    source: Path | str, group_column: str, groups: Iterable[str], key: bytes | None = None
) -> pd.DataFrame:
    """Outcomes of a run's groups, one row per group.

    Parameters
    ----------
    source : path
        A CSV or TSV in UTF-8 with a column of groups and one or more of outcomes. An empty cell
        is an unknown outcome. Rows of groups that the run does not have are left out.
    group_column : str
        Its column of groups.
    groups : iterable of str
        The run's.
    key : bytes or None
        See `group_key`: the CSV may name patients by the ids that the run has as hashes.

    Returns
    -------
    DataFrame
        A row per group that is in the CSV, with its name in the run as index, and a column per
        outcome: float where every cell that is not empty is a number (NaN: unknown), else str
        (None: unknown).

    Raises
    ------
    DataError
        The table cannot be read, has no column of groups or none of outcomes, a row names no
        group, or two rows of one group contradict each other.
    """
    source, known = Path(source), set(groups)
    names, lines, numbers = read_table(source, unit="patient", wanted=(group_column,))
    places = _outcome_places(source, names, lines, group_column)
    values = {names[p]: [line[p].strip() for line in lines] for p in places}
    columns = {name: _typed(cells, name, source, numbers) for name, cells in values.items()}
    own, left_out = names.index(group_column), 0
    found: dict[str, dict[str, Cell]] = {}
    for row, (line, number) in enumerate(zip(lines, numbers, strict=True)):
        name = line[own].strip()
        if not name:
            raise DataError(f"{source}, line {number}: no {group_column}; name the patient whose "
                            "outcome this is, or remove the row")  # fmt: skip
        group = find_group(name, known, key)
        if group is None:
            left_out += 1
            continue
        cells = found.setdefault(group, dict.fromkeys(columns))
        for column, typed in columns.items():
            _merge(cells, column, typed[row], f"{source}, line {number}: group '{name}'")
    if left_out:
        log.info("%d rows of %s are of groups that the run does not have", left_out, source)
    rows = list(found.values())
    table = pd.DataFrame(rows, index=list(found), columns=list(columns), dtype=object)
    for column, typed in columns.items():
        if any(isinstance(value, float) for value in typed):
            table[column] = table[column].astype(float)
    return table


def _outcome_places(
    source: Path, names: list[str], lines: list[list[str]], group_column: str
) -> list[int]:
    """Places of the columns that are outcomes."""
    shown = ", ".join(names[:12])
    if group_column not in names:
        raise DataError(
            f"{source} has no column '{group_column}'{nearest_name(group_column, names)}; it has "
            f"{shown}; rename the column that names the patients, or set group_column in the "
            "config's [data]"
        )
    places = []
    for place, name in enumerate(names):
        if names.count(name) > 1 and name:
            raise DataError(f"{source} has {names.count(name)} columns '{name}'; keep one")
        if name == group_column:
            continue
        if name:
            places.append(place)
        elif any(line[place].strip() for line in lines):
            raise DataError(f"{source}: column {place + 1} has no name; name it or remove it")
    if not places:
        raise DataError(f"{source} has no column beside '{group_column}'; add one with an "
                        "outcome, e.g. recurrence")  # fmt: skip
    return places


def _typed(cells: list[str], name: str, source: Path, numbers: list[int]) -> list[Cell]:
    """Cells of a column, as floats where all that are given are numbers."""
    given = [(cell, number) for cell, number in zip(cells, numbers, strict=True) if cell]
    _check_commas(given, name, source)
    are = [bool(_NUMBER.fullmatch(cell)) for cell, _ in given]
    if not any(are):
        return [cell or None for cell in cells]
    others = [g for g, is_number in zip(given, are, strict=True) if not is_number]
    if any(cell.lower() not in _NO_NUMBER for cell, _ in others):
        return [cell or None for cell in cells]
    others += [g for g in given if g not in others and not np.isfinite(float(g[0]))]
    if others:
        cell, number = others[0]
        raise DataError(f"{source}, line {number}: {name} is '{cell[:60]}' and otherwise a number; "
                        "leave the cell empty if it is not known")  # fmt: skip
    return [float(cell) if cell else None for cell in cells]


def _check_commas(given: list[tuple[str, int]], name: str, source: Path) -> None:
    """Refuse numbers with decimal commas: they would be texts, each a kind of its own."""
    commas = [(cell, number) for cell, number in given if "," in cell]
    if commas and all(
        _NUMBER.fullmatch(cell.replace(",", ".")) or cell.lower() in _NO_NUMBER for cell, _ in given
    ):
        cell, number = commas[0]
        raise DataError(f"{source}, line {number}: {name} is '{cell[:60]}'; write numbers with a "
                        "point, not a comma")  # fmt: skip


def _merge(cells: dict[str, Cell], column: str, value: Cell, where: str) -> None:
    """Put a value into a group's cells; another one that is there already contradicts it."""
    if value is None:
        return
    if cells[column] is not None and cells[column] != value:
        raise DataError(f"{where} has {column} '{value}', and '{cells[column]}' in another row; "
                        "keep one row a group")  # fmt: skip
    cells[column] = value
