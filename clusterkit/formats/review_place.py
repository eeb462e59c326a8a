"""Of which assignments is a file of reviews, and which run made them?"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clusterkit.errors import ClusterkitError, DataError, RunError
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.assignments import read_record
from clusterkit.formats.fiftyone_dataset import exported_from, is_fiftyone
from clusterkit.formats.label_studio import looks_like_json
from clusterkit.formats.reviews import read_reviews
from clusterkit.formats.run import find_run, read_run_info

log = logging.getLogger("clusterkit")

ASSIGNMENTS = "assignments.csv"

_RUNS = Path("runs")


def folder_of_reviews(reviews: Path | str) -> Path:
    """Return the folder whose ``assignments.csv`` a file of reviews is about.

    The one beside it, or that which a FiftyOne dataset (``fiftyone:NAME``) was made of; else the
    one whose assignments the rows name, wherever the file lies: of a run under ``runs/``, of a
    further batch in its ``batches/``, or of a folder here; else the newest run that has
    assignments.

    Raises
    ------
    RunError
        There is no run with assignments.
    """
    beside = _folder_of_dataset(reviews) if is_fiftyone(reviews) else Path(reviews).parent
    if beside is not None and (beside / ASSIGNMENTS).is_file():
        return beside
    named = _named_in(reviews)
    for folder in _places() if named else ():
        try:
            if named & set(load_assigned(folder / ASSIGNMENTS).fingerprints):
                return folder
        except ClusterkitError as error:
            log.info("%s is not looked at: %s", folder, error)
    return find_run(holding=ASSIGNMENTS)


def _folder_of_dataset(reviews: Path | str) -> Path | None:
    """Return the folder that a FiftyOne dataset names, if what is there is of the same run."""
    noted = exported_from(str(reviews))
    if not noted.assignments:
        return None
    try:
        found = read_record(Path(noted.assignments) / ASSIGNMENTS).run
    except DataError:
        return None
    return Path(noted.assignments) if found == noted.run_id else None


def run_of_dataset(reviews: Path | str) -> Path | None:
    """Return the run that a FiftyOne dataset names, if it is there; None for other reviews."""
    if not is_fiftyone(reviews):
        return None
    noted = exported_from(str(reviews))
    try:
        found = read_run_info(noted.run).id if noted.run else None
    except RunError:
        return None
    return Path(noted.run) if found == noted.run_id else None


def run_of_assignments(folder: Path) -> Path | None:
    """Return the run that made the ``assignments.csv`` of a folder; None: it is not found.

    The folder itself, one above it, or one under ``runs/``. Of those that are not the folder itself
    the run that the record beside the assignments names.

    Parameters
    ----------
    folder : Path
    """
    if any((folder / name).is_file() for name in ("run.json", "manifest.csv")):
        return folder
    if not (folder / ASSIGNMENTS).with_suffix(".json").is_file():
        return None
    try:
        made_by = read_record(folder / ASSIGNMENTS).run
    except DataError as error:
        log.info("the run of %s is not known: %s", folder, error)
        return None
    # Absolute: a relative path ends at the current folder.
    above = (path / "run.json" for path in folder.absolute().parents)
    for path in [path for path in above if path.is_file()] + sorted(_RUNS.glob("*/run.json")):
        try:
            if read_run_info(path.parent).id == made_by:
                return path.parent
        except RunError as error:
            log.info("%s is not looked at: %s", path.parent, error)
    return None


def _places() -> Iterator[Path]:
    """Yield folders that hold assignments, those of the newest run first."""
    newest: Path | None = None
    with suppress(RunError):
        newest = find_run(holding=ASSIGNMENTS)
    if newest is not None:
        yield newest
    for place in (f"{_RUNS}/*", f"{_RUNS}/*/batches/*", "*"):
        for path in sorted(Path().glob(f"{place}/{ASSIGNMENTS}")):
            if path.parent != newest:
                yield path.parent


def _named_in(reviews: Path | str) -> set[str]:
    """Return the fingerprints that the rows name; none of what is no reviews file."""
    if not is_fiftyone(reviews) and looks_like_json(Path(reviews)):
        return set()
    try:
        return set(read_reviews(reviews)["assignments"]) - {""}
    except DataError:
        # What is wrong with it is said where its rows are needed.
        return set()
