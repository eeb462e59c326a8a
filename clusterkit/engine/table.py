"""`assignments.csv`: its columns, written so that a spreadsheet runs nothing, and read back."""

import os
from pathlib import Path

import pandas as pd

from clusterkit.data.manifest import restore_csv_text, safe_csv_text
from clusterkit.errors import DataError

COLUMNS = [
    "image", "image_id", "status", "predicted_label", "confidence", "label_set",
    "classifier_label", "classifier_probability", "similarity", "gate", "nearest_image",
    "nearest_label", "nearest_similarity", "novelty_p", "cluster", "group", "duplicate_of",
    "reason", "order",
]  # fmt: skip
STATUSES = ("assigned", "review", "novel", "duplicate", "failed")
NUMBERS = ("confidence", "classifier_probability", "similarity", "nearest_similarity", "novelty_p")
WHOLE = ("cluster", "order")
TEXTS = [c for c in COLUMNS if c not in NUMBERS + WHOLE]

# Digits after the point: more would be noise, and would differ between processors.
_DIGITS = 6


def write_assignments(table: pd.DataFrame, path: Path) -> None:
    """Write a table as UTF-8 CSV, whole or not at all: `COLUMNS`, then what else it has (text)."""
    others = [c for c in table if c not in COLUMNS]
    out = table[[*COLUMNS, *others]].copy()
    for column in [*TEXTS, *others]:
        out[column] = [safe_csv_text(v) if isinstance(v, str) else "" for v in out[column]]
    for column in NUMBERS:
        out[column] = out[column].astype(float).round(_DIGITS)
    for column in WHOLE:
        out[column] = out[column].astype("Int64")
    partial = path.with_name(path.name + ".partial")
    out.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")
    os.replace(partial, path)


def read_assignments(path: Path | str) -> pd.DataFrame:
    """Read an `assignments.csv` as it was before it was written.

    Returns
    -------
    DataFrame with `COLUMNS`: text as str (missing text is ""), numbers as float,
    `cluster` and `order` as Int64; further columns, such as elements kept of DICOM, as str.

    Raises
    ------
    DataError
        There is no such file, or it lacks a column of the contract.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; run `clusterkit assign` first")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    if "order" not in table:
        # Only advice, and not in files of before it was given.
        table["order"] = ""
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(
            f"{path} is no assignments file: no column '{missing[0]}'; "
            f"it has {', '.join(map(str, table.columns[:8]))}"
        )
    for column in [c for c in table if c not in NUMBERS + WHOLE]:
        table[column] = [restore_csv_text(v) for v in table[column]]
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    for column in WHOLE:
        numbers = pd.to_numeric(table[column], errors="coerce")
        table[column] = numbers.where(numbers % 1 == 0).astype("Int64")
    return table
