"""What another program may have made of a label: other letters, a date, a word of its language.

A spreadsheet takes ``1/2`` and ``SEPT2`` for days, writes them as ``02. Jan`` and ``2-Sep``,
``TRUE`` as ``WAHR``, and 1119271000168105 as ``1.11927E+15``. What was written cannot be told from
what is left, so that such a label is asked about, and never put back.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Context, Decimal
from typing import NamedTuple

# In which a spreadsheet may have read UTF-8.
_LETTERS = (*(f"cp125{number}" for number in range(9)), "latin-1", "mac_roman")

# English, German, French, Spanish, Italian, Portuguese, Dutch; short and whole, without accents.
_MONTHS = (
    "jan january januar janv janvier ene enero gen gennaio janeiro januari",
    "feb february februar fevr fevrier febrero febbraio fev fevereiro februari",
    "mar march marz mrz mars marzo marco mrt maart",
    "apr april avr avril abr abril aprile",
    "may mai mayo mag maggio maio mei",
    "jun june juni juin junio giu giugno junho",
    "jul july juli juil juillet julio lug luglio julho",
    "aug august aout ago agosto augustus",
    "sep sept september septembre septiembre set settembre setembro",
    "oct october okt oktober octobre octubre ott ottobre out outubro",
    "nov november novembre noviembre novembro",
    "dec december dez dezember decembre dic diciembre dicembre dezembro",
)
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}

_TRUTH = (
    "true wahr vrai verdadero verdadeiro vero waar prawda sant sand igaz истина",
    "false falsch faux falso onwaar falsz falskt falsk usand hamis ложь",
)

_DAY = re.compile(r"[^\W_]+([ .,/-]{0,2}[^\W_]+){1,2}[.]?")
_PARTS = re.compile(r"[0-9]+|[^\W\d_]+")
_CLOCK = re.compile(r"[ t]00:00(:00(\.0+)?)?$")

# Days are counted from here; those of 1954 to 2119.
_FIRST, _SERIAL = date(1899, 12, 30), range(20_000, 80_000)

_LONGEST_DAY = 40

# Digits of numbers that a spreadsheet shortens, and that are left of them.
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)(e[+-]?[0-9]{1,3})?")
_FEWEST, _MANY, _LONGEST_NUMBERS = 3, 10, 128


class _Day(NamedTuple):
    day: int
    month: int
    year: int | None


def rereads(label: str) -> set[str]:
    """Return the label, and what it was if UTF-8 was read in a country's letters once or twice.

    What is no UTF-8 in the bytes of those letters was not misread: chance makes hardly any.
    """
    found = {label}
    for _ in range(2):
        found |= {_decoded(text, letters) for text in found for letters in _LETTERS}
    return found - {""}


def _decoded(text: str, letters: str) -> str:
    """Return what UTF-8 it was, if these letters were read; else ""."""
    try:
        # A byte that the letters leave out is read as the control of its number.
        data = b"".join(c.encode("latin-1" if "\x80" <= c <= "\x9f" else letters) for c in text)
        return data.decode()
    except UnicodeError:
        return ""


def is_same_cell(one: str, other: str) -> bool:
    """Whether a spreadsheet may have written one label for the other.

    That is a day, a truth value, or a number that it has rounded: it shows ten digits and keeps 15.

    Two labels that no spreadsheet has changed are not the same: ``1-2`` and ``2-1`` are two.

    >>> is_same_cell("02. Jan", "1/2"), is_same_cell("2-Sep", "SEPT2"), is_same_cell("1-2", "2-1")
    (True, True, False)
    >>> is_same_cell("WAHR", "TRUE"), is_same_cell("2026-03-01", "March 1")
    (True, True)
    >>> is_same_cell("1.11927E+15", "1119271000168105"), is_same_cell("1.1", "1.12")
    (True, False)
    >>> is_same_cell("1E+11", "100000000001"), is_same_cell("1E+11", "109000000001")
    (True, False)
    """
    one, other = _plain(one), _plain(other)
    if any({one, other} <= set(words.split()) for words in _TRUTH):
        return True
    if _is_rounded(one, other) or _is_rounded(other, one):
        return True
    # None but what a spreadsheet has written is a day by itself.
    if not (_is_written(one) or _is_written(other)):
        return False
    return any(a[:2] == b[:2] and (None in (a.year, b.year) or a.year == b.year)
               for a in _days(one) for b in _days(other))  # fmt: skip


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFKD", label).casefold().strip(" '\"")
    return "".join(c for c in text if not unicodedata.combining(c))


def _is_rounded(text: str, whole: str) -> bool:
    """Whether the first is the second, a number of many digits, to fewer digits."""
    rounded, given = _NUMBER.fullmatch(text), _NUMBER.fullmatch(whole)
    if not (rounded and given) or len(text + whole) > _LONGEST_NUMBERS:
        return False
    kept, all_of = (_digits(found[1]) for found in (rounded, given))
    # With an exponent it shows so many digits, but for zeros at their end: 1E+11 for 1.00000E+11.
    shown = max(len(kept), _FEWEST) if "e" in text else len(kept)
    if shown < _FEWEST or not len(kept) < len(all_of) or len(all_of) < _MANY:
        return False
    number = Context(prec=shown).create_decimal(whole.replace(",", "."))
    return number == Decimal(text.replace(",", "."))


def _digits(mantissa: str) -> str:
    """Return the digits that say something: no zero before the first or after the last."""
    return re.sub("[^0-9]", "", mantissa).strip("0")


def _is_written(text: str) -> bool:
    """Whether a day has the form that a spreadsheet gives it: with a month's name, or a year."""
    parts = _PARTS.findall(_CLOCK.sub("", text))
    return len(parts) == 3 or any(part in _MONTH_OF for part in parts) or _serial(text) is not None


def _serial(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{5}", text) and int(text) in _SERIAL else None


def _days(text: str) -> set[_Day]:
    """Return the days that a text may be, in any country's order."""
    serial = _serial(text)
    if serial is not None:
        day = _FIRST + timedelta(serial)
        return {_Day(day.day, day.month, day.year)}
    text = _CLOCK.sub("", text)
    parts = _PARTS.findall(text)
    if len(text) > _LONGEST_DAY or len(parts) not in (2, 3) or not _DAY.fullmatch(text):
        return set()
    named = [_MONTH_OF.get(part, 0) for part in parts if not part.isdecimal()]
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) <= 4]
    if len(named) > 1 or 0 in named or len(named) + len(numbers) != len(parts):
        return set()
    return {d for d in _read(named, numbers) if 1 <= d.day <= 31 and 1 <= d.month <= 12}


def _read(named: list[int], numbers: list[int]) -> Iterator[_Day]:
    if named and len(numbers) == 1:
        yield _Day(numbers[0], named[0], None)
    elif named:
        first, second = numbers
        yield _Day(first, named[0], _year(second))
        yield _Day(second, named[0], _year(first))
    elif len(numbers) == 2:
        first, second = numbers
        yield _Day(first, second, None)
        yield _Day(second, first, None)
    else:
        first, second, third = numbers
        yield _Day(third, second, _year(first))
        yield _Day(first, second, _year(third))
        yield _Day(second, first, _year(third))


def _year(number: int) -> int:
    return number if number > 99 else 2000 + number
