"""Where assignments may be written: over no stranger's file, nor over those of another input."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote

from clusterkit.data.remote_places import Place
from clusterkit.data.written_names import place_of_record, written_name
from clusterkit.errors import DataError, RunError, shown
from clusterkit.formats.csv_text import restore_csv_text

# What stands at the beginning of each file that assign writes, and in its record.
_HEAD = "image,image_id,status,"
_KEYS = {"input_root", "promise_text"}


def check_target(
    out: Path, images: Iterable[str], root: Place, source: Place, overwrite: bool = False
) -> None:
    """Check that assignments of an input may be written to a file.

    Reviews name images and clusters of the table that is there: it is replaced by one of the same
    folder in which every one of its images is again, and by no other unless that is asked for.
    Nor is one that holds a certificate: `assign` would write the labels as they were before it.

    Parameters
    ----------
    out : Path
        The CSV.
    images : iterable of str
        Names of the images to be assigned.
    root : path or RemoteLocation
        What they are relative to.
    source : path or RemoteLocation
        The input, for a name in the message.
    overwrite : bool
        Also replace the assignments of another input.

    Raises
    ------
    RunError
        A file that is there is not from `assign`, is about another input, or is certified.
    """
    record = out.with_suffix(".json")
    if out.suffix.lower() != ".csv":
        raise RunError(f"{out} does not end in .csv; call it .csv")
    if record.is_file() and _record_of(record) is None:
        raise RunError(f"{record} is not from assign and is not replaced; give another --out")
    # An empty file, as `mktemp` makes it, is nobody's work.
    if not out.is_file() or not out.stat().st_size:
        return
    if not _head_of(out).startswith(_HEAD):
        raise RunError(f"{out} is not from assign, or was saved by another program, and is not "
                       "replaced; give another --out")  # fmt: skip
    if overwrite:
        return
    names = set(images)
    others, first, total = _others(out, names)
    there = _root_of(out)
    free = out.parent / "batches" / (written_name(source.stem) or "batch") / "assignments.csv"
    ways = f"give --out {quote(str(free))} to keep both, or --overwrite"
    if total and there is not None and not _is_same(there, root):
        raise RunError(
            f"{out} holds the assignments of another input: images in {there}, and these are in "
            f"{root}; {ways} (then rows of the same names and bytes stay, if it was moved)"
        )
    if others:
        raise RunError(
            f"{out} holds the assignments of another input: {others} of its {total} images, "
            f"e.g. '{shown(first)}', are not in this one; {ways}"
        )
    _check_certificate(out, ways, new=len(names) > total)


def _check_certificate(out: Path, ways: str, new: bool) -> None:
    values = _record_of(out.with_suffix(".json")) or {}
    if values.get("certificate") is None:
        return
    alone = "put the new images, which it is not about, into a folder or CSV of their own, and "
    raise RunError(
        f"{out} holds labels that a person has checked, and their certificate, which assign would "
        f"replace; {alone * new}{ways} (the answers stay in reviews.csv)"
    )


def _others(out: Path, now: set[str]) -> tuple[int, str, int]:
    """Count the images of the table that are not among those given, and all that it has.

    Between the two numbers the first of those that are not.
    """
    others, first, total = 0, "", 0
    for image in _images_of(out):
        total += 1
        if image not in now:
            first, others = first or image, others + 1
    return others, first, total


def _root_of(out: Path) -> Place | None:
    """Return what the images of a table are relative to; None: its record does not say."""
    known = (_record_of(out.with_suffix(".json")) or {}).get("input_root")
    return place_of_record(known, out.absolute().parent) if isinstance(known, str) else None


def _is_same(one: Place, other: Place) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return os.path.realpath(one) == os.path.realpath(other)
    return one == other


def _images_of(out: Path) -> Iterator[str]:
    try:
        with out.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            yield from (restore_csv_text(row[0]) for row in rows if row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{out} cannot be read ({error}); move it, or give another --out") from (
            error
        )


def _record_of(path: Path) -> dict | None:
    """Return what a record holds; None: there is none of assign's."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and values.keys() >= _KEYS else None


def _head_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(len(_HEAD))
    except OSError:
        return ""
