"""`assignments.csv`: its columns, written so that a spreadsheet runs nothing, and read back."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.data.identity import has_plain_ids, is_image_id, text_id
from clusterkit.data.link_rules import link_roots_of
from clusterkit.data.remote_places import Place
from clusterkit.data.tables import encoding_of, read_table
from clusterkit.data.workbooks import is_workbook
from clusterkit.data.written_names import place_of_record
from clusterkit.errors import DataError, nearest_name, shown
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.atomic import replacing
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text, table_text

log = logging.getLogger("clusterkit")

COLUMNS = [
    "image", "image_id", "status", "predicted_label", "confidence", "label_set",
    "classifier_label", "classifier_probability", "similarity", "gate", "nearest_image",
    "nearest_label", "nearest_similarity", "novelty_p", "cluster", "group", "duplicate_of",
    "reason", "order",
]  # fmt: skip
# `reviewed` is what a person answered; `certify` writes it, `assign` does not.
STATUSES = ("assigned", "reviewed", "review", "novel", "duplicate", "failed")
NUMBERS = ("confidence", "classifier_probability", "similarity", "nearest_similarity", "novelty_p")
WHOLE = ("cluster", "order")

# Digits after the point: more would be noise, and would differ between processors.
_DIGITS = 6

# Rows that are made into text at a time, and that are read.
_PART, READ_ROWS = 4096, 50_000

_SAVED = ("%s was saved by another program, which may have changed labels and groups that look "
          "like numbers or days (007 to 7); put it back as assign wrote it, and corrections into a "
          "table of their own")  # fmt: skip

# Characters of a first line that are looked at.
_HEAD = 1 << 16


def write_assignments(table: pd.DataFrame, path: Path) -> None:
    """Write a table as UTF-8 CSV, whole or not at all: `COLUMNS`, then what else it has (text).

    Raises
    ------
    OSError
        It cannot be written.
    DataError
        A cell holds what is no text.
    """
    columns = [*COLUMNS, *(c for c in table if c not in COLUMNS)]
    try:
        with replacing(path, newline="", mark=True) as file:
            for start in range(0, max(1, len(table)), _PART):
                part = _written(table.iloc[start : start + _PART][columns])
                file.write(table_text(part, header=not start))
    except UnicodeEncodeError as error:
        raise DataError(f"{path} cannot be written: a cell holds {error.object[error.start]!a}, "
                        "which is no text; rename what is called so") from error  # fmt: skip


def _written(part: pd.DataFrame) -> pd.DataFrame:
    """Return rows as they stand in the file."""
    out = part.copy()
    for column in out:
        if column in NUMBERS:
            out[column] = out[column].astype(float).round(_DIGITS)
        elif column in WHOLE:
            out[column] = out[column].astype("Int64")
        else:
            cells = out[column].tolist()
            out[column] = [safe_csv_text(v) if isinstance(v, str) else "" for v in cells]
    return out


def read_assignments(path: Path | str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read an `assignments.csv` as it was before it was written.

    Parameters
    ----------
    path : path
    columns : sequence of str or None
        Those that are read, which takes half of the time of all; the others are empty. None: all.

    Returns
    -------
    DataFrame with `COLUMNS`: text as str (missing text is ""), numbers as float,
    `cluster` and `order` as Int64; further columns, such as elements kept of DICOM, as str.

    Raises
    ------
    DataError
        There is no such file, it lacks a column of the contract, or a cell cannot be what the
        column says, such as an image_id that is none: a hand or a spreadsheet has changed it.
    """
    # As text, and on its way into columns, a table takes many times its memory.
    return pd.concat(list(read_parts(Path(path), columns)))


def read_rows(path: Path, rows: np.ndarray) -> pd.DataFrame:
    """Read some rows of an `assignments.csv` as `read_assignments` does, with all columns.

    Parameters
    ----------
    path : Path
    rows : (n,) int
        Their positions in the table, which are the index of what is returned, ascending.

    Raises
    ------
    DataError
        As `read_assignments`.
    """
    return pd.concat([part[part.index.isin(rows)] for part in read_parts(path)])


def read_parts(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield the rows of `read_assignments`, at most `READ_ROWS` at a time; at least one part."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; run `clusterkit assign` first")
    parts, saved, comma = _cells_of(path, columns)
    try:
        for part in parts:
            yield _typed(part, path, columns, comma)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    if saved:
        log.warning(_SAVED, path)


def _typed(
    table: pd.DataFrame, path: Path, columns: Sequence[str] | None, comma: bool
) -> pd.DataFrame:
    """Return rows of text as `read_assignments` returns them; their index counts all rows."""
    if "order" not in table:
        # Only advice, and not in files of before it was given.
        table["order"] = ""
    missing = [c for c in columns or COLUMNS if c not in table.columns]
    if missing:
        raise DataError(
            f"{path} is no assignments file: no column '{missing[0]}'; "
            f"it has {', '.join(map(str, table.columns[:8]))[:200]}"
        )
    for absent in [c for c in COLUMNS if c not in table]:
        table[absent] = ""
    for column in [c for c in table if c not in NUMBERS + WHOLE]:
        # Of a million rows few begin so, and one by one all would take half a minute.
        escaped = table[column].str.startswith("'")
        if escaped.any():
            table.loc[escaped, column] = [restore_csv_text(v) for v in table[column][escaped]]
    unknown = table[~table["status"].isin(STATUSES)]
    if len(unknown):
        value = unknown["status"].iloc[0]
        raise DataError(
            f"{path}, row {unknown.index[0] + 1}: status {value[:40]!r}"
            f"{nearest_name(value[:40], STATUSES)} is none of {', '.join(STATUSES)}; "
            "correct it, or run `clusterkit assign` again"
        )
    table["image_id"] = _ids(table["image_id"], path)
    for column in NUMBERS:
        table[column] = _numbers(table[column], path, 0, 1, comma)
    for column in WHOLE:
        numbers = _numbers(table[column], path, 0, 1e9, comma)
        table[column] = numbers.where(numbers % 1 == 0).astype("Int64")
    return table


def _cells_of(
    path: Path, columns: Sequence[str] | None
) -> tuple[Iterable[pd.DataFrame], bool, bool]:
    """Return parts as text, whether another program has saved them, and with decimal commas.

    A spreadsheet may have done so in the ways of its country: by semicolons or tabs, in UTF-16.
    """
    try:
        encoding = encoding_of(path)
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            head = file.readline(_HEAD)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    # A program that does not know the mark may have put its own before it.
    plain = encoding == "utf-8-sig" and not is_workbook(path) and head[:1] != "\ufeff"
    if plain and ("image_id," in head or not re.search("[;\t|]|sep=", head)):
        return _plain_parts(path, columns, encoding), head.endswith("\r\n"), False
    names, lines, _ = read_table(path, wanted=COLUMNS)
    repeated = [name for name in COLUMNS if names.count(name) > 1]
    if repeated:
        raise DataError(f"{path} has two columns '{repeated[0]}'; keep one")
    return [pd.DataFrame(lines, columns=pd.Index(names), dtype=str)], True, True


def _plain_parts(
    path: Path, columns: Sequence[str] | None, encoding: str
) -> Iterator[pd.DataFrame]:
    parts = pd.read_csv(
        path,
        dtype=str,
        keep_default_na=False,
        encoding=encoding,
        usecols=None if columns is None else columns.__contains__,
        chunksize=READ_ROWS,
    )
    with parts:
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex):
                raise DataError(f"{path} has rows of more cells than its first line has names; run "
                                "`clusterkit assign` again")  # fmt: skip
            yield part


def _ids(cells: pd.Series, path: Path) -> pd.Series:
    """Read a column of image ids; an image that could not be read has none."""
    ids = cells.str.strip()
    odd = np.flatnonzero(~has_plain_ids(ids) & (ids != "").to_numpy())
    mended = [text_id(identity) for identity in ids.iloc[odd]]
    for row, identity in zip(odd.tolist(), mended, strict=True):
        if not is_image_id(identity):
            raise DataError(
                f"{path}, row {cells.index[row] + 1}: image_id '{shown(identity)}' is no id of an "
                "image (16 hex digits): a spreadsheet or a hand has changed it; run `clusterkit "
                "assign` again"
            )
    if mended:
        ids.iloc[odd.tolist()] = pd.Series(mended, dtype=str)
    return ids


def _numbers(
    cells: pd.Series, path: Path, low: float, high: float, comma: bool = False
) -> pd.Series:
    """Read a column of numbers, with decimal commas or points; an empty cell is NaN."""
    if not (cells != "").any():
        return pd.Series(np.nan, cells.index, dtype=float)
    written = cells.str.replace(",", ".") if comma else cells
    numbers = pd.to_numeric(written, errors="coerce")
    wrong = (cells.str.strip() != "") & ~numbers.between(low, high)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{path}, row {cells.index[row] + 1}: {cells.name} {cells.iloc[row][:40]!r} is no "
            f"number from {low:g} to {high:g} (with a point, not a comma); correct it, or run "
            "`clusterkit assign` again"
        )
    return numbers


def read_record(path: Path) -> AssignmentRecord:
    """Read the JSON beside an `assignments.csv`; an empty record: there is none.

    Raises
    ------
    DataError
        It is no JSON object.
    """
    path = path.with_suffix(".json")
    if not path.is_file():
        log.warning("%s is missing: images are looked for beside the CSV", path)
        return AssignmentRecord()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); run assign again") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} holds no JSON object; run assign again")
    return AssignmentRecord.fitting(record)


def input_root(csv: Path, record: AssignmentRecord) -> Place:
    """Return the folder, or place in a store, that an `assignments.csv`'s images are relative to.

    Raises
    ------
    DataError
        The record holds something that `assign` never writes.
    """
    root = record.input_root
    if not isinstance(root, str) or Path(root).is_absolute() or not root.isprintable():
        raise DataError(f"{csv.with_suffix('.json')} has an input_root that assign never writes "
                        f"({root!r:.80}); run `clusterkit assign` again")  # fmt: skip
    return place_of_record(root, csv.absolute().parent)


def input_link_roots(csv: Path, record: AssignmentRecord) -> tuple[Path, ...]:
    """Return the folders that links among the images may lead into."""
    return link_roots_of(record.link_roots, csv.absolute().parent)
