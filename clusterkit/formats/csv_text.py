"""Text for CSV files that people open in a spreadsheet, which must not run it as a formula."""

import csv
import re
from codecs import BOM_UTF8
from typing import Any

import pandas as pd

# A spreadsheet runs a cell that starts with one of these; the apostrophe itself is escaped
# too, so that reading gives back exactly what was written.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")

# A number, as a label may be one, or several joined to a set: nothing in it can be run.
_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(\|{_NUMBER})*")


def safe_csv_text(value: str) -> str:
    """Write text so that no spreadsheet runs it as a formula; a plain number is none.

    >>> safe_csv_text("=1+1"), safe_csv_text("benign"), safe_csv_text("-1.0"), safe_csv_text("-1|0")
    ("'=1+1", 'benign', '-1.0', '-1|0')
    """
    if not value.startswith(_FORMULA) or _NUMBERS.fullmatch(value):
        return value
    return "'" + value


def restore_csv_text(value: str) -> str:
    """Undo `safe_csv_text`.

    >>> restore_csv_text("'=1+1"), restore_csv_text("'tis"), restore_csv_text("-1.0")
    ('=1+1', "'tis", '-1.0')
    """
    return value[1:] if value.startswith("'") and value[1:].startswith(_FORMULA) else value


def table_text(table: pd.DataFrame, *, header: bool = True, float_format: str | None = None) -> str:
    """Return a table as the text of a CSV file, with the names of its columns if `header`.

    Readers take a lone carriage return for the end of a line, and no writer quotes it unasked:
    where a cell holds one, all cells are quoted.

    >>> table_text(pd.DataFrame({"note": ["blurred\\rtwice"], "n": [1]}))
    '"note","n"\\n"blurred\\rtwice","1"\\n'
    """

    how: dict[str, Any] = {"index": False, "header": header, "lineterminator": "\n"}
    plain = table.to_csv(**how, float_format=float_format)
    if "\r" not in plain:
        return plain
    return table.to_csv(**how, float_format=float_format, quoting=csv.QUOTE_ALL)


def same_table(one: bytes, other: bytes) -> bool:
    """Compare what two files hold, of which an older one may lack the byte-order mark.

    >>> same_table(b"a,b", BOM_UTF8 + b"a,b"), same_table(b"a,b", b"a;b")
    (True, False)
    """
    return one.removeprefix(BOM_UTF8) == other.removeprefix(BOM_UTF8)
