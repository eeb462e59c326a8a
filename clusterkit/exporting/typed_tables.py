"""The assignments as tables whose columns have types: a workbook, Parquet, Arrow."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from clusterkit.data.workbooks import load_openpyxl, write_workbook
from clusterkit.formats.arrow_tables import arrow_parts, check_pyarrow, write_parquet_file
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE
from clusterkit.formats.csv_text import safe_csv_text

# Digits after the point, as in the CSV.
_DIGITS = 6


def write_xlsx(table: pd.DataFrame, folder: Path) -> list[str]:
    """Write `assignments.xlsx`: the cells of the CSV, text as text and numbers as numbers.

    Returns
    -------
    list of str: what to do next, for a person.
    """
    ordered = _ordered(table)
    columns = [_cells(ordered[name], str(name)) for name in ordered]
    path = folder / "assignments.xlsx"
    write_workbook(path, [str(name) for name in ordered], zip(*columns, strict=True))
    return ["corrections are read from a table of their own: columns image_id, label, decision, "
            "as .xlsx or CSV"]  # fmt: skip


def write_parquet(table: pd.DataFrame, folder: Path) -> list[str]:
    """Write `assignments.parquet`; returns no next step. See `arrow_parts` for the types."""
    write_parquet_file(table, folder / "assignments.parquet")
    return []


def write_arrow(table: pd.DataFrame, folder: Path) -> list[str]:
    """Write `assignments.arrow` (Arrow's file format, which Feather is too); no next step."""
    import pyarrow as pa

    parts = arrow_parts(table)
    first = next(parts)
    with pa.ipc.new_file(str(folder / "assignments.arrow"), first.schema) as file:
        file.write_table(first)
        for part in parts:
            file.write_table(part)
    return []


# Of each target what finds out whether it can be written, and what writes it.
TABLES: dict[str, tuple[Callable[[], None], Callable[[pd.DataFrame, Path], list[str]]]] = {
    "xlsx": (load_openpyxl, write_xlsx),
    "parquet": (check_pyarrow, write_parquet),
    "arrow": (check_pyarrow, write_arrow),
}


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[[*COLUMNS, *(c for c in table if c not in COLUMNS)]]


def _cells(column: pd.Series, name: str) -> list[str | float | int | None]:
    if name in NUMBERS:
        return [None if pd.isna(v) else round(float(v), _DIGITS) for v in column]
    if name in WHOLE:
        return [None if pd.isna(v) else int(v) for v in column]
    # As in the CSV, so that a cell that is copied from one to the other says the same.
    return [safe_csv_text(v) if v else None for v in column]
