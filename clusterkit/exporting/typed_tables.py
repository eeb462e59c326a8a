"""The assignments as tables whose columns have types: a workbook, Parquet, Arrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from clusterkit.data.workbooks import load_openpyxl, write_workbook
from clusterkit.errors import DataError
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE
from clusterkit.formats.csv_text import safe_csv_text

# Labels joined in the CSV.
SETS = ("label_set", "gate")

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
    """Write `assignments.parquet`; returns no next step. See `arrow_table` for the types."""
    from pyarrow.parquet import write_table

    write_table(arrow_table(table), folder / "assignments.parquet")
    return []


def write_arrow(table: pd.DataFrame, folder: Path) -> list[str]:
    """Write `assignments.arrow` (Arrow's file format, which Feather is too); no next step."""
    from pyarrow.feather import write_feather

    write_feather(arrow_table(table), str(folder / "assignments.arrow"), compression="uncompressed")
    return []


def arrow_table(table: pd.DataFrame) -> Any:
    """Return assignments as a `pyarrow.Table`.

    Text is string, numbers are float64, `cluster` and `order` int64, `label_set` and `gate` lists
    of strings; what is missing is null.

    Parameters
    ----------
    table : DataFrame
        As `read_assignments` gives it.
    """
    import pyarrow as pa

    types = {
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(WHOLE, pa.int64()),
        **dict.fromkeys(SETS, pa.list_(pa.string())),
    }
    out = _ordered(table).astype(object)
    for name in out:
        cells = table[name].tolist()
        if name in SETS:
            out[name] = pd.Series([c.split("|") if c else None for c in cells], dtype=object)
        elif name in WHOLE:
            out[name] = table[name].astype("Int64").array
        elif name in NUMBERS:
            out[name] = table[name].astype(float).round(_DIGITS).array
        else:
            out[name] = pd.Series([cell or None for cell in cells], dtype=object)
    schema = pa.schema([(str(name), types.get(str(name), pa.string())) for name in out])
    return pa.Table.from_pandas(out, schema=schema, preserve_index=False)


def _load_pyarrow() -> None:
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise DataError("Parquet and Arrow need the package pyarrow: pip install "
                        "'clusterkit[features]'") from error  # fmt: skip


# Of each target what finds out whether it can be written, and what writes it.
TABLES: dict[str, tuple[Callable[[], None], Callable[[pd.DataFrame, Path], list[str]]]] = {
    "xlsx": (load_openpyxl, write_xlsx),
    "parquet": (_load_pyarrow, write_parquet),
    "arrow": (_load_pyarrow, write_arrow),
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
