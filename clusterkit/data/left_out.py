"""Files of an input that become no row, counted by reason and ending."""

import os
from collections import Counter

# Endings that say little without the one before them.
_OUTER = (".gz", ".bz2", ".xz", ".zip")


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

    def add(self, name: str, reason: str) -> None:
        """Count one file.

        Parameters
        ----------
        name : str
            Its path relative to the input.
        reason : str
            Words that follow "N files", e.g. ``are no images that clusterkit reads``.
        """
        self.counts.setdefault(reason, Counter())[ending_of(name)] += 1
        self.examples.setdefault(reason, name)

    def include(self, other: "LeftOut | None") -> None:
        """Take over the counts of another."""
        for reason, endings in (other.counts if other else {}).items():
            self.counts.setdefault(reason, Counter()).update(endings)
            self.examples.setdefault(reason, other.examples[reason] if other else "")

    @property
    def total(self) -> int:
        """Number of files."""
        return sum(sum(endings.values()) for endings in self.counts.values())

    def sentences(self) -> list[str]:
        """One sentence for each reason.

        >>> left = LeftOut()
        >>> left.add("a.heic", "are no images that clusterkit reads")
        >>> left.sentences()
        ['1 file are no images that clusterkit reads: .heic 1']
        """
        out = []
        for reason, endings in self.counts.items():
            many = sum(endings.values())
            named = ", ".join(f"{ending or 'no ending'} {n}" for ending, n in endings.most_common())
            out.append(f"{many} file{'s' * (many != 1)} {reason}: {named}")
        return out

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Counts by reason and ending, as plain values."""
        return {reason: dict(endings.most_common()) for reason, endings in self.counts.items()}
