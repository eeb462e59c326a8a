"""Tables that people bring: the one place where their text becomes rows of cells.

Which character separates the cells is told in this order:

1. `separator`, where it is not ``auto``;
2. a first line ``sep=;``, as spreadsheets write and read it;
3. the line of column names: of comma, semicolon, tab and ``|`` the one that splits it so that the
   most of the wanted columns are there. Two that do equally well, with other names, are an error.

Not by pandas: where rows have one cell more than the names, as with a comma at each line's end, it
takes the first column for an index, and every label moves to its neighbour.

Rows never decide: a decimal comma, or a name with a semicolon, is in them and not in the names.

Text is UTF-8, or UTF-16 where the file begins with the mark of its byte order, as what spreadsheets
call Unicode text does. A workbook (.xlsx) has cells by itself, see `workbooks`.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TextIO

from clusterkit.config import separator_character
from clusterkit.data.guarded_path import open_given
from clusterkit.data.workbooks import is_workbook, read_workbook
from clusterkit.errors import DataError, shown

SEPARATORS = (",", ";", "\t", "|")

# Characters of a line; the limit that csv has for cells comes when the line is in memory.
_LONGEST = 1 << 22

_STATED = re.compile(r'"?sep=(\\t|.)"?[,;\t| ]*', re.IGNORECASE)


def read_table(
    source: Path,
    unit: str = "image",
    *,
    separator: str = "auto",
    wanted: Sequence[str] = (),
    option: str = "",
    nul: bool = False,
) -> tuple[list[str], list[list[str]], list[int]]:
    """Column names, rows (as long as the names), and the number of each row's last line.

    Parameters
    ----------
    source : path
    unit, option : str
        For messages: what a row is about, and the option that names the separator; "": none does.
    separator : str
        As `data.separator`.
    wanted : sequence of str
        Columns that the table should have; by them the separator is told.
    nul : bool
        Lines but the first may hold NUL characters: whoever reads a cell looks for them.

    Raises
    ------
    DataError
        The file cannot be read, is no table or has no rows, or its separator cannot be told.
    """
    if is_workbook(source):
        return _read_workbook(source, unit)
    names: list[str] | None = None
    lines, numbers = list[list[str]](), list[int]()
    above, reader = 0, csv.reader(())
    try:
        with source.open(encoding=encoding_of(source), newline="") as file:
            delimiter, above = _delimiter(file, source, separator, wanted, option)
            _skip_lines(file, above)
            reader = csv.reader(_bounded_lines(file, nul), delimiter=delimiter, strict=True)
            for cells in reader:
                if not (cells and cells[0].strip()) and not any(cell.strip() for cell in cells):
                    continue
                if names is None:
                    names, width = [cell.strip() for cell in cells], len(cells)
                    continue
                number = above + reader.line_num
                if len(cells) != width:
                    cells = _fitted(f"{source}, line {number}", cells, width, delimiter)
                lines.append(cells)
                numbers.append(number)
    except UnicodeDecodeError as error:
        name = error.encoding.upper()[: len("UTF-16")]
        raise DataError(f"{source} is not {name} text; save it as CSV in UTF-8") from error
    except (csv.Error, OSError) as error:
        # A line that was not handed on is not counted.
        line = above + max(reader.line_num + isinstance(error, _UnfitLineError), 1)
        reason = getattr(error, "strerror", None) or f"line {line}: {_reason(error)}"
        raise DataError(f"{source} cannot be read as a table: {reason}") from error
    if names is None or not lines:
        raise _no_rows(source, names, unit)
    return names, lines, numbers


def _no_rows(source: Path, names: list[str] | None, unit: str) -> DataError:
    lacks = "has column names but no rows; add a row for each " + unit
    return DataError(f"{source} {lacks if names else 'is empty; it needs a line of column names'}")


def _read_workbook(source: Path, unit: str) -> tuple[list[str], list[list[str]], list[int]]:
    rows = [(n, cells) for n, cells in read_workbook(source) if any(c.strip() for c in cells)]
    if len(rows) < 2:
        raise _no_rows(source, rows[0][1] if rows else None, unit)
    names = [cell.strip() for cell in rows[0][1]]
    while not names[-1]:
        names.pop()
    lines = [_fitted(f"{source}, line {n}", cells, len(names), "") for n, cells in rows[1:]]
    return names, lines, [number for number, _ in rows[1:]]


def encoding_of(source: Path) -> str:
    """Return the codec of a table's text: UTF-16 where the mark of byte order says so, else UTF-8.

    Raises
    ------
    OSError
        The file cannot be read.
    DataError
        It is no file, but a pipe for example.
    """
    with open_given(source) as file:
        head = file.read(4)
    # The mark of UTF-32 begins with that of UTF-16.
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if wide and head != codecs.BOM_UTF32_LE else "utf-8-sig"


def one_column_note(names: Sequence[str], separator: str = "auto", option: str = "") -> str:
    """Words to add where a column is missing and the line of names is a single cell; else "".

    Parameters
    ----------
    names : sequence of str
        The columns that there are.
    separator, option : str
        As given to `read_table`.

    >>> one_column_note(["image:label"], option="--separator")
    '; if a character separates cells in it, name it with --separator'
    >>> one_column_note(["image;label"], ",", "--separator")
    "; ',' separates nothing in it: name another character with --separator, or leave it out"
    >>> one_column_note(["image", "dx"])
    ''
    """
    if len(names) != 1:
        return ""
    if separator != "auto":
        return (f"; {_in_words(separator_character(separator))} separates nothing in it: name "
                f"another character with {option}, or leave it out")  # fmt: skip
    if any(character in names[0] for character in SEPARATORS):
        return "; the whole line is in double quotes: save the table again without them"
    if option:
        return f"; if a character separates cells in it, name it with {option}"
    return "; separate its cells by commas, semicolons or tabs"


def _reason(error: csv.Error | OSError) -> str:
    if "expected after" not in str(error):
        return str(error)
    return ("a cell that begins with a double quote goes on behind the next one; write each double "
            "quote in it twice, or leave out the first")  # fmt: skip


class _UnfitLineError(csv.Error):
    """A line that is no text, or too long to be one."""


def _bounded_lines(file: TextIO, nul: bool = False) -> Iterator[str]:
    """Lines of a file; one that fills the memory, or is not text, is an error before it is read."""
    read: Callable[[], str] = partial(file.readline, _LONGEST)
    # A byte-order mark may stand behind a line sep=; too.
    first = read().lstrip("\ufeff")
    for number, line in enumerate(chain([first] * bool(first), iter(read, ""))):
        # UTF-16 that is taken for another has them in the first line too.
        if "\0" in line and not (nul and number):
            raise _UnfitLineError(
                "it holds a NUL character, as UTF-16 does; save it as CSV in UTF-8"
            )
        if len(line) >= _LONGEST:
            raise _UnfitLineError(f"more than {_LONGEST:,} characters without a line end")
        yield line


def _skip_lines(file: TextIO, count: int) -> None:
    file.seek(0)
    for _ in range(count):
        file.readline(_LONGEST)


def _delimiter(
    file: TextIO, source: Path, separator: str, wanted: Sequence[str], option: str
) -> tuple[str, int]:
    """Separator of the cells, and how many lines stand above the column names."""
    above, first = 0, ""
    for number, first in enumerate(_bounded_lines(file), 1):
        if first.strip():
            above = number
            break
    stated = _stated_separator(first, f"{source}, line {above}")
    if separator != "auto":
        return separator_character(separator), above if stated else 0
    if stated:
        _check_stated(file, source, above, stated, wanted)
        return stated, above
    usual = "\t" if source.suffix.lower() == ".tsv" else ","
    headers: dict[str, list[str]] = {}
    for character in (usual, *(c for c in SEPARATORS if c != usual)):
        file.seek(0)
        try:
            headers[character] = _column_names(file, character)
        except csv.Error:
            # No table by this character; if it is one by none, the reading of it says why.
            continue
    if not headers:
        return usual, 0
    found = {c: sum(name in names for name in wanted) for c, names in headers.items()}
    best = max(found.values())
    likely = [c for c in headers if found[c] == best]
    if not best:
        # No name is known: all that is left to say is which columns there are.
        several = not wanted and len(headers.get(usual, ())) > 1
        return usual if several else max(likely, key=lambda c: len(headers[c])), 0
    if any(headers[c] != headers[likely[0]] for c in likely):
        named = " or ".join(_in_words(c) for c in likely)
        advice = f"name it with {option}" if option else "separate by one of them alone"
        raise DataError(f"{source}: its cells may be separated by {named}; {advice}")
    return likely[0], 0


def _stated_separator(line: str, where: str) -> str:
    """Separator that a line ``sep=;`` states; "": it is no such line."""
    if not line[:5].lower().lstrip('"').startswith("sep="):
        return ""
    text = line.rstrip("\r\n")
    found = _STATED.fullmatch(text)
    character = separator_character(found[1]) if found else ""
    if not character:
        raise DataError(f"{where}: '{shown(text, 20)}' names no character that separates cells; "
                        "write e.g. sep=; or remove the line")  # fmt: skip
    return character


def _column_names(file: TextIO, delimiter: str) -> list[str]:
    for cells in csv.reader(_bounded_lines(file), delimiter=delimiter, strict=True):
        names = [cell.strip() for cell in cells]
        if any(names):
            return names
    return []


def _check_stated(
    file: TextIO, source: Path, above: int, stated: str, wanted: Sequence[str]
) -> None:
    """Refuse a stated separator that splits no column names, where another one does."""
    found = {}
    for character in (stated, *(c for c in SEPARATORS if c != stated)):
        _skip_lines(file, above)
        try:
            names = _column_names(file, character)
        except csv.Error:
            names = []
        found[character] = sum(name in names for name in wanted)
    best = max(found, key=lambda character: found[character])
    if not found[stated] and found[best]:
        raise DataError(f"{source}, line {above}: it says that {_in_words(stated)} separates the "
                        f"cells, but those of the column names are separated by {_in_words(best)}; "
                        "correct or remove that line")  # fmt: skip


def _in_words(character: str) -> str:
    return "a tab" if character == "\t" else f"'{character}'"


def _fitted(where: str, cells: list[str], width: int, delimiter: str) -> list[str]:
    """Cells of a row, as many as there are columns; only empty ones may be too many.

    Of a workbook `delimiter` is "".
    """
    extra = [cell for cell in cells[width:] if cell.strip()]
    if extra:
        advice = "put a cell that holds a separator in double quotes"
        raise DataError(
            f"{where}: {len(cells)} cells for {width} columns, e.g. {extra[0][:60]!r}; "
            f"{advice if delimiter else 'name its column, or empty the cell'}"
        )
    # All of a row would become its first cell, without a label.
    if len(cells) == 1 and delimiter and cells[0].count(delimiter) >= width - 1 > 0:
        raise DataError(f"{where}: the whole line is in double quotes; save the table again "
                        "without them")  # fmt: skip
    for other in SEPARATORS:
        if len(cells) == 1 and other != delimiter and cells[0].count(other) == width - 1 > 0:
            raise DataError(
                f"{where}: its cells are separated by {_in_words(other)}, those of the column "
                f"names by {_in_words(delimiter)}; separate all lines by the same"
            )
    return [*cells[:width], *[""] * (width - len(cells))]
