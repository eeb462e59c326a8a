"""What several reviewers said of one image or cluster: which answer holds, and who disagrees."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

# A spreadsheet's `28.11.2026 10:00` or `11/12/2026` may be read in two ways, or in none.
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ](?P<clock>[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?) ?"
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.IGNORECASE,
)

NO_NAME = "(no name)"


class Stamp(NamedTuple):
    """A time that can be compared with others of its kind.

    Attributes
    ----------
    kind : {"date", "local", "zoned"}
        A day, a time of a clock on some wall, and a moment. Two kinds have no order.
    at : datetime
    """

    kind: str
    at: datetime


class Contested(NamedTuple):
    """An image or cluster with more than one row.

    Attributes
    ----------
    key : str
    rows : list of int
        Positions of its rows, in the order in which they were written.
    standing : list of int
        Each reviewer's last word, but for those that a skip took back; the last of them holds.
    out_of_order : bool
        The times order the rows otherwise than they were written.
    changed : bool
        So that another answer holds.
    unread : str or None
        Where answers differ: a time for which the order of rows decides, since not all can be
        compared; None: all can, or nobody wrote any.
    """

    key: str
    rows: list[int]
    standing: list[int]
    out_of_order: bool
    changed: bool
    unread: str | None


def read_time(text: str) -> Stamp | None:
    """Read an ISO 8601 time; None: it is none, or can be read in more than one way.

    >>> read_time("2026-11-20T09:00:00Z").kind, read_time("2026-11-20 09:00").kind
    ('zoned', 'local')
    >>> read_time("2026-11-20").kind, read_time("11/12/2026"), read_time("2026-13-01")
    ('date', None, None)
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    clock, zone = match["clock"], (match["zone"] or "").upper()
    iso = match["date"] + (f"T{clock}{zone}" if clock else "")
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return None
    kind = "zoned" if zone else "local" if clock else "date"
    return Stamp(kind, at if zone else at.replace(tzinfo=UTC))


def reviewer_key(name: str) -> str:
    """Name a reviewer without regard to letters' case and blanks."""
    return " ".join(name.split()).casefold()


def reviewer_name(name: str) -> str:
    """Return a reviewer's name as it is shown."""
    return " ".join(name.split()) or NO_NAME


def hold(said: pd.DataFrame) -> tuple[np.ndarray, list[Contested]]:
    """Find the row that holds for each key.

    Where all rows of a key bear times that can be compared, they count in the order of these,
    else as they stand. Of each reviewer the last row counts. A skip takes back the earlier rows
    of the same reviewer; a row or a skip without a name may be anybody's. Of what is left, the
    last row holds, and before it the last that is ground truth.

    Parameters
    ----------
    said : DataFrame (N)
        key, decision, label, reviewer, time, ground_truth (bool); in the order written.

    Returns
    -------
    held : (M,) int
        Positions of the rows that hold, ascending; at most one a key.
    contested : list of Contested
        Keys with more than one row, in the order first named.
    """
    keys = said["key"].to_numpy()
    several = pd.Series(keys).duplicated(keep=False).to_numpy()
    single = ~several & (said["decision"] != "skip").to_numpy()
    places: dict[str, list[int]] = {}
    for position in np.flatnonzero(several).tolist():
        places.setdefault(keys[position], []).append(position)
    cells = _SaidCells(said)
    contested = [cells.contest(key, rows) for key, rows in places.items()]
    held = [c.standing[-1] for c in contested if c.standing]
    return np.sort(np.r_[np.flatnonzero(single), np.array(held, dtype=int)]), contested


class _SaidCells:
    """The columns of `hold`'s table as lists, which are read one by one."""

    def __init__(self, said: pd.DataFrame) -> None:
        self.decisions, self.labels = said["decision"].tolist(), said["label"].tolist()
        self.reviewers, self.times = said["reviewer"].tolist(), said["time"].tolist()
        self.truths = said["ground_truth"].tolist()

    def contest(self, key: str, rows: list[int]) -> Contested:
        stamps = {row: read_time(self.times[row]) for row in rows}
        kinds = {stamp.kind if stamp else None for stamp in stamps.values()}
        as_written = self._standing(rows)
        answers = {self._answer(row) for row in rows if self.decisions[row] != "skip"}
        if len(kinds) > 1 or None in kinds:
            given = [self.times[row] for row in rows if self.times[row].strip()]
            unread = [t for t in given if read_time(t) is None] or given
            said = unread[0] if unread and len(answers) > 1 else None
            return Contested(key, rows, as_written, False, False, said)
        ordered = sorted(rows, key=lambda row: stamps[row].at)  # type: ignore[union-attr]
        standing = self._standing(ordered)
        changed = [self._answer(r) for r in standing[-1:]] != [
            self._answer(r) for r in as_written[-1:]
        ]
        # Ground truth holds whenever it was said, so that its place contradicts nothing.
        moved = [r for r in ordered if not self.truths[r]] != [
            r for r in rows if not self.truths[r]
        ]
        return Contested(key, rows, standing, moved, changed, None)

    def _answer(self, row: int) -> tuple[bool, str]:
        return self.decisions[row] == "reject", self.labels[row]

    def _standing(self, rows: Iterable[int]) -> list[int]:
        left: dict[str, int] = {}
        for row in rows:
            who = reviewer_key(self.reviewers[row])
            if self.decisions[row] != "skip":
                left.pop(who, None)
                left[who] = row
            elif who:
                left.pop(who, None)
                left.pop("", None)
            else:
                left.clear()
        return sorted(left.values(), key=lambda row: self.truths[row])
