"""Labels: the one place where what a person wrote becomes the name of a class.

A label is read as text in Unicode's composed form (NFC), without blanks around it, and with one
plain space for each run of blanks inside. A character that nobody can see is refused: it would
make two classes of what a person reads as one. Joiners are read where a word of a script, or an
emoji, is written with them.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import TYPE_CHECKING

import pandas as pd

from clusterkit.data.changed_labels import is_same_cell, rereads
from clusterkit.data.several_labels import several_labels
from clusterkit.errors import DataError, shown

if TYPE_CHECKING:
    from clusterkit.data.label_map import LabelMap

log = logging.getLogger("clusterkit")

# Controls, formats, line ends, and halves of characters.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs")

# Drawn as nothing, or as a blank, though their category is that of a letter or mark (Unicode's
# Default_Ignorable_Code_Point); the last is an empty Braille pattern.
_NOTHING = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0"
                      "\ufff0-\ufff8\U000e0000-\U000e0fff\u2800]")  # fmt: skip

# Of category Cf, but drawn: signs that stand before numbers.
_DRAWN = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")

_NON_JOINER, _JOINER, _EMOJI_STYLE = "\u200c", "\u200d", "\ufe0e\ufe0f"
_VIRAMA = 9

# Not Decimal's own grammar: it also takes "1_000", "nan" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d{1,6})?", re.ASCII)
_LONGEST_NUMBER = 64

_DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d\u00ad]")
_BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
# Letters of other scripts that are drawn as Latin ones.
_TWINS = str.maketrans("авекмнорстухіјѕԁԛԝαβεικνορτυχ", "abekmhopctyxijsdqwabeikvoptux")

# Sets of labels that a warning names.
_NAMED = 3


def compose_label(text: str) -> str:
    """Label as it is read, before it is checked: composed, and without needless blanks.

    >>> compose_label(" gro\u0308\u00dfer\u00a0 Herd ") == "gr\u00f6\u00dfer Herd"
    True
    """
    text = unicodedata.normalize("NFC", text).strip()
    if text.isascii() and "  " not in text:
        return text
    # A control among blanks stays, and is refused.
    blank = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return re.sub(" {2,}", " ", blank)


def read_label(text: str, where: str) -> str:
    """Label that a person wrote; "" where there is none.

    Parameters
    ----------
    text : str
    where : str
        The file and the row, for messages.

    Raises
    ------
    DataError
        It holds a character that cannot be seen.
    """
    label = compose_label(text)
    unseen = _unseen_in(label)
    if unseen:
        raise DataError(f"{where}: label '{escape_unseen(label)}' holds a line break or another "
                        f"control character, {_named(unseen)} (it may be invisible); write it "
                        "anew, or rename it with --label-map")  # fmt: skip
    return label


def read_labels(
    values: Iterable[str | None],
    place: Callable[[int], str],
    renamed: "LabelMap | None" = None,
    refused: dict[int, str] | None = None,
) -> list[str | None]:
    """Labels of the rows of a data set, None where there is none.

    Parameters
    ----------
    values : iterable of str or None
        As they were written.
    place : callable
        From the number of a row to its file and line, for messages.
    renamed : LabelMap or None
        Names to be replaced, before labels are checked: it may mend them.
    refused : dict or None
        Takes the reason for each row whose label is refused, which then shows the invisible
        characters by their numbers; None: the first one is an error.

    Raises
    ------
    DataError
        See `read_label`.
    """
    out: list[str | None] = []
    # A data set has few labels and many rows.
    known: dict[str, str | None] = {}
    for number, text in enumerate(values):
        if not isinstance(text, str):
            out.append(None)
            continue
        if text not in known:
            composed = compose_label(text)
            try:
                name = renamed.get(composed) if renamed else None
                known[text] = name or read_label(text, place(number)) or None
            except DataError as error:
                if refused is None:
                    raise
                refused[number] = str(error)
                out.append(escape_unseen(composed))
                continue
        out.append(known[text])
    return out


def escape_unseen(label: str) -> str:
    """Label with its invisible characters by number, so that a person sees where they are.

    >>> escape_unseen("mali\u200bgnant")
    'mali<U+200B>gnant'
    """
    unseen = {i for i in range(len(label)) if _is_unseen(label, i)}
    text = "".join(f"<U+{ord(c):04X}>" if i in unseen else c for i, c in enumerate(label))
    return shown(text, 80)


def near_key(label: str) -> Hashable:
    """Key that labels share where a person may have meant one class.

    They are equal as numbers (``01``, ``1.0``, ``1e0``), or but for case, accents' encoding, width,
    joiners, quotes, zeros before a number, letters of another script that look the same, and
    blanks, dashes and underscores between words. A dash before a number or at the end says
    something and stays.

    >>> near_key("White_Blood cell") == near_key("white blood-cell")
    True
    >>> near_key("01") == near_key("1.0")
    True
    >>> near_key("HER2-") == near_key("HER2"), near_key("-1") == near_key("1")
    (False, False)
    """
    text = unicodedata.normalize("NFKC", label).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_TWINS)
    text = _DASHES.sub("-", "".join(c for c in text if not _ignored(c)))
    text = text.strip(" _'\"\u2018\u2019\u201c\u201d`\u00b4")
    if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        try:
            return Decimal(text.replace(",", "."))
        except InvalidOperation:
            return text
    return _ZEROS.sub("", _BETWEEN.sub(_between_words, text)) or label


def near_labels(labels: Iterable[str]) -> list[list[str]]:
    """Sets of labels that may be one class each: those of a `near_key`, sorted.

    >>> near_labels(["WBC", "RBC", "wbc"])
    [['WBC', 'wbc']]
    """
    sets: dict[Hashable, list[str]] = {}
    for label in sorted(set(labels)):
        sets.setdefault(near_key(label), []).append(label)
    return [found for found in sets.values() if len(found) > 1]


def near_question(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    """Question for a person about labels that may be one class.

    >>> near_question(["WBC", "wbc"], {"WBC": 7, "wbc": 3})
    "'WBC' (7) and 'wbc' (3): one class?"
    """
    named = [f"'{shown(label)}' ({counts[label]})" for label in labels]
    return f"{', '.join(named[:-1])} and {named[-1]}: one class?"


def count_labels(labels: pd.Series) -> dict[str, int]:
    """Number of images of each label."""
    return {str(label): int(n) for label, n in labels.dropna().value_counts().items()}


def warn_of_near_labels(labels: pd.Series) -> None:
    """Log a warning of labels that may be one class."""
    counts = count_labels(labels)
    sets = near_labels(counts)
    if sets:
        asked = " ".join(near_question(found, counts) for found in sets[:_NAMED])
        more = f" And {len(sets) - _NAMED} more." if len(sets) > _NAMED else ""
        log.warning("labels that differ in how they are written alone are classes of their own: "
                    "%s%s Merge them with --label-map", asked, more)  # fmt: skip


def nearest_label(label: str, known: Iterable[str]) -> str | None:
    """Known label that `label` may be a slip of; None: there is none.

    One may also be what a spreadsheet has made of the other, see `changed_labels`: its UTF-8 read
    in the letters of a country (``GrÃ¶ÃŸe``), or the day that it took it for.
    """
    known = list(known)
    keys = set(map(near_key, rereads(label)))
    for name in known:
        if keys & set(map(near_key, rereads(name))) or is_same_cell(label, name):
            return name

    def plain(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum()) or text

    names = {plain(k): k for k in reversed(known)}
    match = get_close_matches(plain(label), list(names), n=1, cutoff=0.75)
    return names[match[0]] if match else None


def near_hint(label: str, near: str | None) -> str:
    """Question that follows a label which `nearest_label` found another one for; "" without.

    >>> near_hint("1", "01"), near_hint("rnig", "ring"), near_hint("odd", None)
    (" (did you mean '01'?): a spreadsheet may have changed it", " (did you mean 'ring'?)", '')
    """
    if not near:
        return ""
    key = near_key(label)
    number = isinstance(key, Decimal) and key == near_key(near)
    read = rereads(label) & {near} or rereads(near) & {label}
    changed = number or read or is_same_cell(label, near)
    note = ": a spreadsheet may have changed it" if changed else ""
    return f" (did you mean '{shown(near)}'?){note}"


def _unseen_in(label: str) -> str:
    """First character that cannot be seen; "" where all can."""
    if label.isascii() and label.isprintable():
        return ""
    return next((c for i, c in enumerate(label) if _is_unseen(label, i)), "")


def _is_unseen(label: str, place: int) -> bool:
    character = label[place]
    if unicodedata.category(character) in _UNSEEN:
        if _DRAWN.match(character):
            return False
    elif not _NOTHING.match(character):
        return False
    return not _belongs(label, place)


def _belongs(label: str, place: int) -> bool:
    """Return True for a joiner or selector where the characters beside it are written with it."""
    character, before, after = label[place], label[:place], label[place + 1 :]
    if not before:
        return False
    # Marks stand between a letter and its joiner.
    last = next((c for c in reversed(before) if not unicodedata.category(c).startswith("M")), "")
    first = next((c for c in after if not unicodedata.category(c).startswith("M")), "")
    if character in (_NON_JOINER, _JOINER) and after:
        if unicodedata.combining(before[-1]) == _VIRAMA:
            return True
        if character == _NON_JOINER:
            return unicodedata.bidirectional(last) == unicodedata.bidirectional(first) == "AL"
        return _is_symbol(last) and _is_symbol(first)
    if character in _EMOJI_STYLE:
        return _is_symbol(before[-1])
    return _is_mongolian(character) and _is_mongolian(before[-1])


def _is_symbol(character: str) -> bool:
    return bool(character) and unicodedata.category(character) in ("So", "Sk")


def _is_mongolian(character: str) -> bool:
    return "\u180b" <= character <= "\u18aa"


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + f" {name}" * bool(name)


def _ignored(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN or bool(_NOTHING.match(character))


def _between_words(match: re.Match[str]) -> str:
    before, after = match.string[match.start() - 1], match.string[match.end()]
    # "1-2" is not "12".
    return "-" if before.isdecimal() and after.isdecimal() else ""


def check_labels(manifest: pd.DataFrame, max_classes: int) -> list[str]:
    """Classes of a manifest, sorted.

    Raises
    ------
    DataError
        No image is labelled, there is one class only or more than `max_classes`, or a label is
        several (see `several_labels`).
    """
    counts = manifest["label"].dropna().value_counts().sort_index()
    if not len(counts):
        raise DataError("no image has a label; fill the label column or use class folders")
    if len(counts) == 1:
        raise DataError(f"all {counts.iloc[0]} labels are '{counts.index[0]}'; at least two "
                        "classes are needed to tell them apart")  # fmt: skip
    if len(counts) > max_classes:
        raise DataError(f"{len(counts)} classes are more than max_classes = {max_classes}; is "
                        f"'{counts.index[0]}' a label? if so, raise --max-classes")  # fmt: skip
    several = several_labels(counts.index)
    if several:
        raise DataError(several)
    single = counts[counts == 1].index.tolist()
    if single:
        log.warning("%d classes have one labelled image only, e.g. '%s': they are never held "
                    "out, so nothing is known of their errors", len(single), single[0])  # fmt: skip
    return counts.index.tolist()
