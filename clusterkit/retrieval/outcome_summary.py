"""Outcomes of the most similar patients, counted, beside those of all others."""

import numpy as np
import pandas as pd

from clusterkit.methods.outcomes import interval_of

COLUMNS = ["outcome", "kind", "value", "n", "known", "estimate", "low", "high", "interval",
           "all_known", "all_estimate"]  # fmt: skip


def summarise_outcomes(
    outcomes: pd.DataFrame, nearest: list[str], level: float = 0.9, seed: int = 0
) -> pd.DataFrame:
    """Count the outcomes of the nearest groups, each group once, whatever its similarity.

    Parameters
    ----------
    outcomes : DataFrame
        A row a group, its name as index; float columns are averaged, others counted.
        NaN or None: unknown.
    nearest : list of str
        Groups; those that are not in `outcomes` count as unknown.
    level : float in (0, 1)
        Of the intervals.
    seed : int

    Returns
    -------
    DataFrame with a row for each value of an outcome, or one for the mean of a number:

    - outcome: the column's name; kind: ``share`` or ``mean``; value: "" for a mean;
    - n, known: how many of the nearest have that value, out of those whose outcome is known;
      for a mean both are how many are averaged;
    - estimate: n / known, or the mean; NaN if nothing is known;
    - low, high, interval: bounds, and how they were made, see `interval_of`; NaN and "" where
      there is none;
    - all_known, all_estimate: the same of all groups in `outcomes`, to compare with.

    The values are all that any group has, the commonest among the nearest first. An outcome that
    no group has is one row with ``known`` 0.
    """
    near, rows = outcomes.reindex(nearest), []
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
            rows.append([
                name, kind, value, count, len(numbers), _mean(numbers),
                *interval_of(numbers, level, seed, shares), len(all_numbers), _mean(all_numbers),
            ])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _values(everyone: pd.Series, few: pd.Series) -> list[str]:
    counts, among = everyone.value_counts(), few.value_counts()
    order = sorted(counts.index, key=lambda v: (-among.get(v, 0), -counts[v], v))
    return order or [""]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
