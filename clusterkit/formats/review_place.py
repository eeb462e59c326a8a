"""Of which assignments is a file of reviews?"""

import csv
import logging
from pathlib import Path

from clusterkit.errors import ClusterkitError
from clusterkit.formats.assignments import load_assigned
from clusterkit.formats.run import find_run

log = logging.getLogger("clusterkit")

ASSIGNMENTS = "assignments.csv"

# A line of a reviews file is longer only where it holds no reviews.
_MOST_LINES = 100_000


def folder_of_reviews(reviews: Path) -> Path:
    """Return the folder whose ``assignments.csv`` a file of reviews is about.

    The one beside it; else that run under ``runs/`` whose assignments the rows name, wherever the
    file lies; else the newest run that has assignments.

    Raises
    ------
    RunError
        There is no run with assignments.
    """
    if (reviews.parent / ASSIGNMENTS).is_file():
        return reviews.parent
    newest = find_run(holding=ASSIGNMENTS)
    named = _named_in(reviews)
    if not named:
        return newest
    runs = sorted(path.parent for path in newest.parent.glob(f"*/{ASSIGNMENTS}"))
    for folder in [newest, *(run for run in runs if run != newest)]:
        try:
            if named & set(load_assigned(folder / ASSIGNMENTS).fingerprints):
                return folder
        except ClusterkitError as error:
            log.info("%s is not looked at: %s", folder, error)
    return newest


def _named_in(reviews: Path) -> set[str]:
    """Return the fingerprints of assignments that the rows of a CSV name; none of anything else."""
    try:
        with reviews.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            found = {row.get("assignments") or "" for row, _ in zip(rows, range(_MOST_LINES),
                                                                     strict=False)}  # fmt: skip
    except (OSError, ValueError, csv.Error, TypeError):
        return set()
    return found - {""}
