"""Assignments as Arrow tables and Parquet, whose columns have types; `pyarrow` is an extra."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from clusterkit.errors import ConfigError, DataError, RunError, shown
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE
from clusterkit.formats.atomic import replacing

log = logging.getLogger("clusterkit")

FORMATS = ("csv", "parquet")

# Labels joined in the CSV.
SETS = ("label_set", "gate")

# Rows of a part, and of a row group: as objects of Python more would fill the memory.
ROW_GROUP = 1 << 16

# Digits after the point, as in the CSV.
_DIGITS = 6

# In the metadata of a Parquet file beside a CSV: the hash of the CSV that it holds.
_ABOUT = b"clusterkit.table"


def check_pyarrow() -> None:
    """Raise a DataError where pyarrow is not installed."""
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise DataError("Parquet and Arrow need the package pyarrow: pip install "
                        "'clusterkit[features]'") from error  # fmt: skip


def arrow_parts(table: pd.DataFrame) -> Iterator[Any]:
    """Yield assignments as `pyarrow.Table`s of `ROW_GROUP` rows each; one at least.

    Text is string, numbers are float64, `cluster` and `order` int64, `label_set` and `gate` lists
    of strings; what is missing is null.

    Parameters
    ----------
    table : DataFrame
        As `read_assignments` gives it.
    """
    table = table[[*COLUMNS, *(c for c in table if c not in COLUMNS)]]
    for start in range(0, max(1, len(table)), ROW_GROUP):
        yield _arrow_table(table.iloc[start : start + ROW_GROUP])


def _arrow_table(table: pd.DataFrame) -> Any:
    import pyarrow as pa

    types = {
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(WHOLE, pa.int64()),
        **dict.fromkeys(SETS, pa.list_(pa.string())),
    }
    columns = {}
    for name in table:
        cells: Any = table[name].tolist() if name not in NUMBERS + WHOLE else None
        if name in SETS:
            column = pd.Series([c.split("|") if c else None for c in cells], dtype=object)
        elif name in WHOLE:
            column = table[name].astype("Int64")
        elif name in NUMBERS:
            column = table[name].astype(float).round(_DIGITS)
        else:
            texts = [cell if isinstance(cell, str) and cell else None for cell in cells]
            column = pd.Series(texts, dtype=object)
        columns[name] = column.reset_index(drop=True)
    schema = pa.schema([(str(name), types.get(str(name), pa.string())) for name in table])
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=schema, preserve_index=False)


def write_parquet_file(table: pd.DataFrame, path: Path, about: str = "") -> None:
    """Write assignments as Parquet, whole or not at all, a row group after another.

    Parameters
    ----------
    about : str
        SHA-256 of the CSV that holds the same rows; "": there is none.

    Raises
    ------
    OSError
        It cannot be written.
    """
    from pyarrow.parquet import ParquetWriter

    with replacing(path, "wb") as file:
        writer = None
        for part in arrow_parts(table):
            if writer is None:
                kept = part.schema.metadata or {}
                named = {_ABOUT: about.encode()} if about else {}
                writer = ParquetWriter(file, part.schema.with_metadata(kept | named))
            writer.write_table(part)
        if writer is not None:
            writer.close()


def parquet_beside(csv: Path) -> Path:
    """Return where the Parquet file of an `assignments.csv` is."""
    return csv.with_suffix(".parquet")


def has_parquet(csv: Path) -> bool:
    """Return True where a Parquet file beside a CSV is one that `assign` wrote."""
    path = parquet_beside(csv)
    if not path.is_file() or path.is_symlink():
        return False
    with suppress(ImportError, OSError, ValueError):
        from pyarrow.parquet import read_schema

        return _ABOUT in (read_schema(path).metadata or {})
    return False


def check_format(name: str, csv: Path) -> None:
    """Check that assignments may be written in a format, beside a CSV, before hours are spent.

    Raises
    ------
    ConfigError
        It is none of `FORMATS`.
    DataError
        pyarrow is not installed.
    RunError
        A Parquet file that is there is not from `assign`.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format '{shown(str(name))}' is none of {', '.join(FORMATS)}")
    if name == "csv":
        return
    check_pyarrow()
    path = parquet_beside(csv)
    if (path.exists() or path.is_symlink()) and not has_parquet(csv):
        raise RunError(f"{path} is not from assign and is not replaced; give another --out")


def drop_parquet(csv: Path) -> None:
    """Remove the Parquet file of a CSV that is about to be replaced: it would say what was."""
    if has_parquet(csv):
        log.info("%s is of the table before, and is removed", parquet_beside(csv))
        parquet_beside(csv).unlink(missing_ok=True)
