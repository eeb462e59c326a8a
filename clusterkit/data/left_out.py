"""Files of an input that become no row, counted by reason and ending."""

import os
from collections import Counter
from collections.abc import Mapping
from typing import Self

from clusterkit.data.imageio.image_formats import HEIF_ADVICE, HEIF_ENDINGS

# Endings that say little without the one before them.
_OUTER = (".gz", ".bz2", ".xz", ".zip")

# Endings that a sentence names.
_NAMED = 12

# Why a file or a folder is left out, in words that follow their number; where they do not begin
# with what it is, it is files.
NO_IMAGE = "are no images"
UNREAD = "are no images that clusterkit reads"
REFUSED = "are named by a path that is not followed"
MISNAMED = "are images but have no such ending (.png, .jpg)"
TEXT_LINKS = "are links that were copied as text"
HIDDEN = "are hidden images: their names begin with a point"
CLOSED_FILE = "cannot be opened"
NO_PATH = "have names that are no paths: a part of them is empty, . or .."
CLOSED = "folders cannot be opened"
SYSTEM = "folders are the system's own"
RUNS = "folders are runs of clusterkit"
LINKED = "links to folders are not followed (--follow-links)"
OUTSIDE = "links lead out of the data (--follow-links --link-root DIR)"
AGAIN = "links lead to folders that are listed already"
DEAD = "links lead to nothing: what they lead to has been moved or not been fetched"

# Things that a person would want to be an image; the others are there on purpose.
WANTED = (UNREAD, MISNAMED, TEXT_LINKS, HIDDEN, CLOSED_FILE, NO_PATH, CLOSED, LINKED, OUTSIDE, DEAD)

_ONE = {
    "are no images": "is no image",
    "are links that were": "is a link that was",
    "are hidden images: their names begin": "is a hidden image: its name begins",
    "are images but have no such ending": "is an image but has no such ending",
    "links lead to folders that are": "link leads to a folder that is",
    "links lead to nothing: what they lead": "link leads to nothing: what it leads",
    "links to folders are": "link to a folder is",
    "links lead": "link leads",
    "folders are runs": "folder is a run",
    "folders are": "folder is",
    "folders": "folder",
    "are": "is",
    "have names that are": "has a name that is",
    "have": "has",
    "hold": "holds",
    "were": "was",
}


def ending_of(name: str) -> str:
    """Ending of a file's name in lower case, with its dot; "" where it has none.

    >>> ending_of("a/scan.NII.GZ"), ending_of("IM0001"), ending_of("1.2.840.113")
    ('.nii.gz', '', '')
    """
    stem, outer = os.path.splitext(os.path.basename(name).lower())
    if outer in _OUTER:
        return os.path.splitext(stem)[1] + outer
    # The last number of a UID is no type of file.
    return "" if outer[1:].isdecimal() else outer


class LeftOut:
    """Files of an input that become no row: every one is counted, none is lost without a word.

    Whoever lists an input adds to it; whoever reports counts by `sentences` and `to_dict`.

    Attributes
    ----------
    counts : dict of str to Counter
        By reason, in the order first met: how many files of each ending.
    examples : dict of str to str
        By reason, the first file.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.examples: dict[str, str] = {}

    def add(self, name: str, reason: str, kind: str | None = None) -> None:
        """Count one file.

        Parameters
        ----------
        name : str
            Its path relative to the input.
        reason : str
            Words that follow "N files", e.g. ``are no images``; of folders and links they begin
            with "folders" or "links".
        kind : str or None
            What it is counted as; None: its ending.
        """
        self.counts.setdefault(reason, Counter())[ending_of(name) if kind is None else kind] += 1
        self.examples.setdefault(reason, name)

    def include(self, other: "LeftOut | None") -> None:
        """Take over the counts of another."""
        for reason, endings in (other.counts if other else {}).items():
            self.counts.setdefault(reason, Counter()).update(endings)
            self.examples.setdefault(reason, other.examples.get(reason, "") if other else "")

    @classmethod
    def of_record(cls, counts: Mapping[str, Mapping[str, int]]) -> Self:
        """Return what `to_dict` was made of, without examples."""
        new = cls()
        new.counts = {reason: Counter(endings) for reason, endings in counts.items()}
        return new

    @property
    def total(self) -> int:
        """Number of files, and of folders and links."""
        return sum(sum(endings.values()) for endings in self.counts.values())

    def sentences(self) -> list[str]:
        """One sentence for each reason.

        >>> left = LeftOut()
        >>> left.add("a.svs", UNREAD)
        >>> left.sentences()
        ['1 file is no image that clusterkit reads: .svs 1']
        >>> left.add("b.svs", UNREAD)
        >>> left.sentences()
        ['2 files are no images that clusterkit reads: .svs 2']
        """
        out = []
        for reason, endings in self.counts.items():
            named = [f"{ending or 'no ending'} {n}" for ending, n in endings.most_common(_NAMED)]
            rest = len(endings) - len(named)
            named += [f"{rest} other{'s' * (rest > 1)}"] * bool(rest)
            phone = [ending for ending in endings if ending in HEIF_ENDINGS]
            advice = f" ({phone[0]}: {HEIF_ADVICE})" if phone and reason == UNREAD else ""
            out.append(f"{_words(sum(endings.values()), reason)}: {', '.join(named)}{advice}")
        return out

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Counts by reason and ending, as plain values."""
        return {reason: dict(endings.most_common()) for reason, endings in self.counts.items()}


def _words(many: int, reason: str) -> str:
    if many == 1:
        several = next((words for words in _ONE if reason.startswith(words + " ")
                        or reason == words), "")  # fmt: skip
        reason = _ONE.get(several, "") + reason[len(several) :]
    named = reason.startswith(("folder", "link"))
    return f"{many:,} " + ("" if named else "file " if many == 1 else "files ") + reason
