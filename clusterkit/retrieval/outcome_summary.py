"""Outcomes of the most similar patients, counted, beside those of all others."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

import numpy as np
import pandas as pd

from clusterkit.methods.outcomes import interval_of


@dataclass(frozen=True)
class OutcomeRow:
    """One value of an outcome, or the mean of a number: a row of `summarise_outcomes`.

    Attributes
    ----------
    outcome : str
        The column's name.
    kind : {"share", "mean"}
    value : str
        "" for a mean.
    n, known : int
        How many of the nearest have that value, out of those whose outcome is known; for a mean
        both are how many are averaged.
    estimate : float
        n / known, or the mean; NaN if nothing is known.
    low, high : float
        Bounds of the interval; NaN where there is none.
    interval : {"bootstrap", "exact", ""}
        How the bounds were made, see `interval_of`; "" where there are none.
    all_known : int
    all_estimate : float
        As `known` and `estimate`, of all groups, to compare with.
    """

    outcome: str
    kind: str
    value: str
    n: int
    known: int
    estimate: float
    low: float
    high: float
    interval: str
    all_known: int
    all_estimate: float


COLUMNS = [field.name for field in fields(OutcomeRow)]


def summarise_outcomes(
    outcomes: pd.DataFrame, nearest: list[str], level: float = 0.9, seed: int = 0
) -> pd.DataFrame:
    """Count the outcomes of the nearest groups, each group once, whatever its similarity.

    Parameters
    ----------
    outcomes : DataFrame
        One row per group, its name as index; float columns are averaged, others counted.
        NaN or None: unknown.
    nearest : list of str
        Groups; those that are not in `outcomes` count as unknown.
    level : float in (0, 1)
        Of the intervals.
    seed : int

    Returns
    -------
    DataFrame with a row for each value of an outcome, or one for the mean of a number; its columns
    are the fields of `OutcomeRow`.

    The values are all that any group has, the commonest among the nearest first. An outcome that
    no group has is one row with ``known`` 0.
    """
    near = outcomes.reindex(nearest)
    rows: list[OutcomeRow] = []
    for name in outcomes.columns:
        everyone, few = outcomes[name].dropna(), near[name].dropna()
        if pd.api.types.is_float_dtype(outcomes[name]):
            parts = [("mean", "", everyone.to_numpy(), few.to_numpy())]
        else:
            parts = [
                ("share", v, (everyone == v).to_numpy(float), (few == v).to_numpy(float))
                for v in _values(everyone, few)
            ]
        for kind, value, all_numbers, numbers in parts:
            shares = bool(np.isin(all_numbers, (0, 1)).all())
            count = len(numbers) if kind == "mean" else int(numbers.sum())
            rows.append(OutcomeRow(
                str(name), kind, value, count, len(numbers), _mean(numbers),
                *interval_of(numbers, level, seed, shares), len(all_numbers), _mean(all_numbers),
            ))  # fmt: skip
    return pd.DataFrame([astuple(row) for row in rows], columns=COLUMNS)


def outcome_rows(table: pd.DataFrame) -> Iterator[OutcomeRow]:
    """Yield the rows of a table that `summarise_outcomes` returned."""
    for cells in zip(*(table[column].tolist() for column in COLUMNS), strict=True):
        yield OutcomeRow(*cells)


def _values(everyone: pd.Series, few: pd.Series) -> list[str]:
    counts, among = everyone.value_counts(), few.value_counts()
    order = sorted(counts.index, key=lambda v: (-among.get(v, 0), -counts[v], v))
    return order or [""]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
