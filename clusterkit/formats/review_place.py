"""Of which assignments is a file of reviews?"""

import logging
from pathlib import Path

from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.assignments import load_assigned
from clusterkit.formats.reviews import read_reviews
from clusterkit.formats.run import find_run

log = logging.getLogger("clusterkit")

ASSIGNMENTS = "assignments.csv"


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
    """Return the fingerprints that the rows name; none of what is no reviews file."""
    try:
        return set(read_reviews(reviews)["assignments"]) - {""}
    except DataError:
        # What is wrong with it is said where its rows are needed.
        return set()
