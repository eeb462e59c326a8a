"""Workbooks of spreadsheets (.xlsx): the one place where they are read and written.

A cell of a workbook has a type, so that nothing is read anew: ids and labels are text and stay
what they are.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from clusterkit.data.guarded_path import open_given
from clusterkit.errors import DataError, shown

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

ENDING = ".xlsx"
MOST_ROWS = 1_048_576

# What is unpacked, and places up to the last cell of each row.
_LARGEST = 64 << 20
_MOST_CELLS = 2_000_000

# Of a cell's text, as the programs have it.
_LONGEST = 32_767

# XML cannot hold them.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_TEXT = "@"

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z0-9:$]{1,40})"')


def is_workbook(path: Path) -> bool:
    """Whether a file's name says that it is a workbook."""
    return path.suffix.lower() == ENDING


def load_openpyxl() -> None:
    """Raise DataError where the package that reads and writes workbooks is not installed."""
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise DataError("workbooks (.xlsx) need openpyxl: pip install 'clusterkit[xlsx]', or save "
                        "the table as CSV in UTF-8") from error  # fmt: skip


def read_workbook(path: Path) -> list[tuple[int, list[str]]]:
    """Return the filled rows of the only sheet that has any, each with its number, as text.

    A whole number has no point, a day is ISO 8601, a truth value is TRUE or FALSE.

    Raises
    ------
    DataError
        It is no workbook, needs a package or too much memory, holds more than one sheet with
        anything in it, or a cell is merged with others, a formula or an error.
    """
    load_openpyxl()
    with _opened(path) as book:
        # Row by row: what the package makes of a whole sheet may fill the memory.
        for sheet in book.worksheets:
            sheet.reset_dimensions()
        filled = [sheet for sheet in book.worksheets if _is_filled(sheet)]
        if len(filled) > 1:
            names = ", ".join(f"'{shown(str(sheet.title), 40)}'" for sheet in filled[:4])
            raise DataError(f"{path} has {len(filled)} sheets that hold something ({names}); keep "
                            "one")  # fmt: skip
        return _rows(filled[0], path) if filled else []


def write_workbook(
    path: Path, names: Sequence[str], rows: Iterable[Sequence[str | float | int | None]]
) -> None:
    """Write one sheet: text as text, which nothing reads anew, numbers as numbers, None: empty.

    Raises
    ------
    DataError
        There are more rows than a sheet has, or a text is longer than a cell takes.
    OSError
        It cannot be written.
    """
    load_openpyxl()
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("assignments")
    sheet.freeze_panes = "A2"
    try:
        for number, values in enumerate([names, *rows], 1):
            _check_row(names, values, number)
            cells = []
            for value in values:
                cell = WriteOnlyCell(sheet, _fit(value) if isinstance(value, str) else value)
                if isinstance(value, str):
                    # It would take '=' for the beginning of a formula.
                    cell.data_type, cell.number_format = "s", _TEXT
                cells.append(cell)
            sheet.append(cells)
    except DataError:
        sheet.close()
        raise
    book.save(path)


def _check_row(
    names: Sequence[str], values: Sequence[str | float | int | None], number: int
) -> None:
    if number > MOST_ROWS:
        raise DataError(f"a sheet has {MOST_ROWS:,} rows; CSV and Parquet hold more")
    for name, value in zip(names, values, strict=True):
        if isinstance(value, str) and len(value) > _LONGEST:
            raise DataError(f"{name} in row {number} has {len(value):,} characters, a cell "
                            f"{_LONGEST:,}; CSV and Parquet hold more")  # fmt: skip


@contextmanager
def _opened(path: Path) -> "Iterator[Workbook]":
    from openpyxl import load_workbook

    try:
        open_given(path).close()
        _check_parts(path)
        with warnings.catch_warnings():
            # Of what it leaves out: drop-down lists, colours by rule, a missing default style.
            warnings.simplefilter("ignore")
            book = load_workbook(path, read_only=True)
            try:
                yield book
            finally:
                book.close()
    except DataError:
        raise
    except BadZipFile as error:
        raise DataError(f"{path} is no .xlsx workbook, or has a password; save it as .xlsx without "
                        "one, or as CSV in UTF-8") from error  # fmt: skip
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # Whatever the package meets in a damaged or hostile file.
        raise DataError(f"{path} is damaged ({type(error).__name__}: {shown(str(error), 80)}); "
                        "save it again, or as CSV in UTF-8") from error  # fmt: skip


def _check_parts(path: Path) -> None:
    """Refuse a workbook that is too large, is none of a spreadsheet, or has merged cells."""
    with ZipFile(path) as archive:
        parts = archive.infolist()
        size = sum(part.file_size for part in parts)
        if size > _LARGEST:
            raise DataError(f"{path} unpacks to {size >> 20} MB, more than {_LARGEST >> 20} are "
                            "read; save it as CSV in UTF-8")  # fmt: skip
        for part in parts:
            if not part.filename.endswith(".xml"):
                continue
            data = archive.read(part)
            if b"<!DOCTYPE" in data:
                # Texts of its own, which no program writes, would fill the memory or be left out.
                raise DataError(f"{path} is damaged ({shown(part.filename, 40)} defines what a "
                                "workbook has not); save it again, or as CSV in UTF-8")  # fmt: skip
            merged = _MERGED.search(data) if "/worksheets/" in part.filename else None
            if merged:
                cells = merged[1].decode()
                raise DataError(f"{path}: the cells {cells} are merged, and only one of them has a "
                                "value; unmerge them, and fill in each")  # fmt: skip


def _is_filled(sheet: "Worksheet") -> bool:
    return any(cell.value is not None for row in sheet.iter_rows() for cell in row)


def _rows(sheet: "Worksheet", path: Path) -> list[tuple[int, list[str]]]:
    rows, seen = [], 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        seen += len(row)
        if seen > _MOST_CELLS:
            raise DataError(
                f"{path} has more than {_MOST_CELLS:,} cells, or one far from the table (row "
                f"{number:,}, column {len(row):,}); delete what is not the table, or save it as "
                "CSV in UTF-8"
            )
        cells = [_text_of(cell, f"{path}, line {number}") for cell in row]
        if any(cells):
            rows.append((number, cells))
    return rows


def _text_of(cell: "Cell", where: str) -> str:
    value: Any = cell.value
    if value is None:
        return ""
    if cell.data_type in ("f", "e"):
        kind = "a formula" if cell.data_type == "f" else "an error"
        raise DataError(f"{where}: cell {cell.coordinate} holds {kind} "
                        f"('{shown(str(getattr(value, 'text', value)), 40)}'); write its value "
                        "there, as text")  # fmt: skip
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        day = value.time() == time()
        return value.date().isoformat() if day else value.isoformat(timespec="seconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)


def _fit(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)
