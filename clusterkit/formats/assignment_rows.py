"""Rows of an `assignments.csv` as typed records, for code that goes through them one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.formats.assignments import NUMBERS, WHOLE


@dataclass(frozen=True)
class AssignmentRow:
    """One row of the table that `read_assignments` returns.

    Attributes
    ----------
    image, image_id, status, predicted_label : str
    confidence : float in [0, 1] or None
        None, here and below: the cell is empty.
    label_set : str
        Labels joined by ``|``.
    classifier_label : str
    classifier_probability, similarity : float in [0, 1] or None
    gate : str
        Labels joined by ``|``.
    nearest_image, nearest_label : str
    nearest_similarity, novelty_p : float in [0, 1] or None
    cluster : int or None
    group, duplicate_of, reason : str
    order : int or None
    """

    image: str
    image_id: str
    status: str
    predicted_label: str
    confidence: float | None
    label_set: str
    classifier_label: str
    classifier_probability: float | None
    similarity: float | None
    gate: str
    nearest_image: str
    nearest_label: str
    nearest_similarity: float | None
    novelty_p: float | None
    cluster: int | None
    group: str
    duplicate_of: str
    reason: str
    order: int | None


def assignment_rows(table: pd.DataFrame) -> Iterator[AssignmentRow]:
    """Yield the rows of a table of assignments, in its order.

    Parameters
    ----------
    table : DataFrame
        With the columns of `read_assignments`; others are passed over.
    """
    for cells in zip(*row_columns(table), strict=True):
        yield AssignmentRow(*cells)


def row_columns(table: pd.DataFrame) -> list[list[Any]]:
    """Return the columns of a table in the order of `AssignmentRow`'s fields, as plain values."""
    return [_plain_values(table[field.name]) for field in fields(AssignmentRow)]


def _plain_values(column: pd.Series) -> list[Any]:
    if column.name in NUMBERS:
        return _numbers(column)
    return _whole_numbers(column) if column.name in WHOLE else column.tolist()


def _numbers(values: pd.Series) -> list[float | None]:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    return [None if np.isnan(value) else value for value in numbers.tolist()]


def _whole_numbers(values: pd.Series) -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in values]
