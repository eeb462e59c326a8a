"""What spreadsheet programs do to a CSV that is opened and saved, as far as it is known of them.

A file without a byte-order mark is read in the letters of the country. Cells that look like a
number, a truth value or a day become one, and are written as the country writes them; all other
cells stay text. This stands in for the programs where none is installed; `test_spreadsheets` also
asks LibreOffice itself where it is.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

Rows = list[list[str]]

_BOM = b"\xef\xbb\xbf"
_ENGLISH = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905
_GERMAN = "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez".split()  # noqa: SIM905
_MONTHS = {name.lower(): n for names in (_ENGLISH, _GERMAN) for n, name in enumerate(names, 1)}
_MONTHS |= {"march": 3, "sept": 9, "december": 12, "märz": 3}


@dataclass(frozen=True)
class Country:
    """How a program writes numbers, words and days."""

    point: str
    words: tuple[str, str]
    day: Callable[[int, int], str]
    between: str


ENGLISH = Country(".", ("TRUE", "FALSE"), lambda d, m: f"{d}-{_ENGLISH[m - 1]}", "/")
GERMAN = Country(",", ("WAHR", "FALSCH"), lambda d, m: f"{d:02}. {_GERMAN[m - 1]}", ".")


def opened(data: bytes, separator: str = ",") -> Rows:
    """Cells of a file as the program shows them before it makes anything of them."""
    letters = "utf-8-sig" if data.startswith(_BOM) else "cp1252"
    text = data.decode(letters, errors="replace")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def typed(rows: Rows, country: Country) -> Rows:
    """Cells as the program writes them once it has taken some for numbers, words or days."""
    return [[_typed(cell, country) for cell in row] for row in rows]


def saved(rows: Rows, kind: str) -> bytes:
    """Bytes of a file that the program saves.

    Kinds: "," and ";" (CSV UTF-8, as Excel names it), "plain" (without a mark and all quoted, as
    LibreOffice may), "unicode" (UTF-16 and tabs), "cp1252" (CSV in the letters of the country).
    """
    separator = {"unicode": "\t", ",": ",", "plain": ","}.get(kind, ";")
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if kind == "plain" else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=separator, lineterminator="\r\n", quoting=quoting).writerows(rows)
    letters = {"unicode": "utf-16", "cp1252": "cp1252", "plain": "utf-8"}.get(kind, "utf-8-sig")
    return text.getvalue().encode(letters)


def _typed(cell: str, country: Country) -> str:
    text = cell.strip(" ")
    number = rf"[+-]?([0-9]+(\{country.point}[0-9]*)?|\{country.point}[0-9]+)(e[+-]?[0-9]{{1,3}})?"
    if text.lower() in ("true", country.words[0].lower()):
        return country.words[0]
    if text.lower() in ("false", country.words[1].lower()):
        return country.words[1]
    if re.fullmatch(number, text, re.IGNORECASE | re.ASCII):
        value = Decimal(text.replace(country.point, "."))
        return _number(value, country.point) if abs(value) < Decimal("1e307") else cell
    day = _day(text, country)
    return country.day(day.day, day.month) if day else cell


def _number(value: Decimal, point: str) -> str:
    """Write a number as a cell of no format shows it: ten digits, or an exponent."""
    number = float(value)
    if number == 0 or 1e-4 <= abs(number) < 1e11:
        text = f"{number:.10g}" if "e" not in f"{number:.10g}" else str(int(number))
    else:
        mantissa, _, exponent = f"{number:.5e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}E{exponent[0]}{int(exponent[1:]):02}"
    return text.replace(".", point)


def _day(text: str, country: Country) -> date | None:
    found = re.fullmatch(r"([0-9]{1,2})[/.-]([0-9]{1,2})\.?", text, re.ASCII)
    if found and ("." not in text or country.between == "."):
        first, second = int(found[1]), int(found[2])
        english = country.between == "/"
        return _valid(*((second, first) if english else (first, second)))
    named = re.fullmatch(r"([^\W\d_]+)[ -]?([0-9]{1,2})", text) or None
    if named and named[1].lower() in _MONTHS:
        return _valid(int(named[2]), _MONTHS[named[1].lower()])
    return None


def _valid(day: int, month: int) -> date | None:
    try:
        return date(2026, month, day)
    except ValueError:
        return None
