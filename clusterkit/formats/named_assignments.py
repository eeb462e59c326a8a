"""Naming the assignments that reviews are about: in options, and in the commands that are shown."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from clusterkit.data.manifest import default_source
from clusterkit.errors import ConfigError, DataError, RunError
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_place import ASSIGNMENTS, folder_of_reviews

log = logging.getLogger("clusterkit")


def place_of(csv: Path) -> Path:
    """Return what names assignments in `--run` and `--reviews-of`: their folder, or the CSV."""
    return csv.parent if csv.name == ASSIGNMENTS else csv


def named_assignments(place: Path | str) -> Path:
    """Return the assignments that a run, a folder or a CSV itself names.

    Raises
    ------
    RunError
        It is not there, or a folder without assignments.
    """
    place = Path(place)
    if place.is_file():
        return place
    if not place.is_dir():
        raise RunError(f"{place} does not exist; name the run whose images were reviewed")
    if not (place / ASSIGNMENTS).is_file():
        what = "run" if (place / "run.json").is_file() else "folder"
        raise RunError(f"the {what} {place} has no {ASSIGNMENTS}; name the run whose images were "
                       "reviewed, or the folder of a batch")  # fmt: skip
    return place / ASSIGNMENTS


def named_for_each(
    reviews: Sequence[Path | str], of: Sequence[Path | str] | Path | str | None
) -> list[Path | None]:
    """Return for each reviews file the assignments that were named; None: it is to be found.

    Parameters
    ----------
    reviews : sequence of path
    of : path, sequence of path or None
        One for all files, or one for each in their order.

    Raises
    ------
    ConfigError
        Their number is another one.
    RunError
        See `named_assignments`.
    """
    of = [of] if isinstance(of, str | Path) else list(of or ())
    if of and not reviews:
        raise ConfigError("--reviews-of says what --reviews is about; give --reviews FILE as well")
    if len(of) not in (0, 1, len(reviews)):
        raise ConfigError(
            f"--reviews-of is given {len(of)} times and --reviews {len(reviews)} times; give it "
            "once for all files, or once for each in their order"
        )
    found: list[Path | None] = [named_assignments(place) for place in of] or [None]
    return found * len(reviews) if len(found) == 1 else found


def assigned_for(reviews: Path | str, csv: Path | None) -> Assigned | None:
    """Return the assignments that a file of reviews is about, `csv` if it is named.

    None: no run has any.
    """
    try:
        csv = csv or folder_of_reviews(reviews) / ASSIGNMENTS
    except RunError:
        return None
    log.info("%s is about %s", reviews, csv)
    return load_assigned(csv)


def fit_command(reviews: Path | str, csv: Path | str, source: str | None = None) -> str:
    """Return the command that learns from checked reviews, wherever their file lies.

    Parameters
    ----------
    reviews : path
    csv : path
        The assignments that they were checked against.
    source : str or None
        The labelled images of the settings.
    """
    reviews, csv = Path(reviews), Path(csv)
    beside = csv.name == ASSIGNMENTS and csv.parent.absolute() == reviews.parent.absolute()
    of = "" if beside else f" --reviews-of {shlex.quote(str(place_of(csv)))}"
    return f"clusterkit fit{_data(source)} --reviews {shlex.quote(str(reviews))}{of}"


def _data(source: str | None) -> str:
    if source:
        return ""
    try:
        default_source()
    except DataError:
        return " LABELED"
    return ""
