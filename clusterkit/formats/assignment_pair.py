"""`assignments.csv` and `assignments.json` are one: written together, and known when they are not.

Two files cannot be renamed at once. So the record that is to come lies beside them before the
first of them is replaced, and names the table by the hash of its bytes: whoever reads them after a
kill between the two finds a record to come about the very table that is there.
"""

import json
import os
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd

from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError
from clusterkit.formats.arrow_tables import drop_parquet, parquet_beside, write_parquet_file
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.assignments import (
    input_link_roots,
    input_root,
    read_assignments,
    read_parts,
    read_record,
    write_assignments,
)
from clusterkit.formats.atomic import temporary_path, write_json
from clusterkit.formats.known_images import Assigned

# Columns by which a table that was written is known again.
_KNOWN = ("image", "image_id", "status")

# Of a first line.
_BYTES = 1 << 16


def write_pair(
    table: pd.DataFrame, record: AssignmentRecord, out: Path, parquet: bool = False
) -> AssignmentRecord:
    """Write a table of assignments and its record, which names the table by its hash.

    Parameters
    ----------
    table : DataFrame
        See `write_assignments`.
    record : AssignmentRecord
    out : Path
        The CSV; the record is the JSON of the same name.
    parquet : bool
        Write the rows into a Parquet file of that name, too.

    Returns
    -------
    AssignmentRecord: the one that was written.

    Raises
    ------
    OSError, DataError
        They cannot be written, or come back otherwise; those that were there are as they were.
    """
    partial = write_checked(table, out)
    return replace_pair(partial, record, out, table if parquet else None)


def write_checked(table: pd.DataFrame, out: Path) -> Path:
    """Write a table beside `out`, read it back, and return where it is until `replace_pair`.

    Raises
    ------
    OSError, DataError
        It cannot be written, or comes back otherwise; nothing is left.
    """
    partial = temporary_path(out)
    try:
        write_assignments(table, partial)
        if not _comes_back(table, partial):
            raise DataError(f"{out} cannot be written so that it is read back as it was; rename "
                            "images with odd names")  # fmt: skip
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return partial


def _comes_back(table: pd.DataFrame, written: Path) -> bool:
    done = 0
    for part in read_parts(written, _KNOWN):
        rows = table.iloc[done : done + len(part)]
        done += len(part)
        if len(rows) != len(part) or not all(
            (part[name].to_numpy() == rows[name].to_numpy()).all() for name in _KNOWN
        ):
            return False
    return done == len(table)


def replace_pair(
    partial: Path, record: AssignmentRecord, out: Path, parquet: pd.DataFrame | None = None
) -> AssignmentRecord:
    """Put a table of `write_checked` and its record in their places; see `write_pair`.

    Parquet comes last, and what there was of it goes first: it never says what the CSV does not.
    `parquet` is its table; None: there is to be none.
    """
    digest = sha256_of(partial)
    coming = temporary_path(out.with_suffix(".json"), digest)
    try:
        record = replace(record, table=digest)
        write_json(coming, record.to_dict())
        drop_parquet(out)
        os.replace(partial, out)
    except BaseException:
        for path in (partial, coming):
            with suppress(OSError):
                path.unlink()
        raise
    # Another process may have done it: see `finish_pair`.
    with suppress(FileNotFoundError):
        os.replace(coming, out.with_suffix(".json"))
    if parquet is not None:
        write_parquet_file(parquet, parquet_beside(out), digest)
    return record


def finish_pair(csv: Path) -> None:
    """Put the record of a table in its place, where a command was ended before it could do so.

    Raises
    ------
    OSError
        It cannot be put there.
    """
    coming = _to_come(csv, sha256_of(csv)) if csv.is_file() else None
    if coming is not None:
        with suppress(FileNotFoundError):
            os.replace(coming, csv.with_suffix(".json"))


def _to_come(csv: Path, digest: str) -> Path | None:
    """Return where the record lies that is to come beside a table; None: there is none."""
    coming, known = temporary_path(csv.with_suffix(".json"), digest), None
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        if not coming.is_symlink():
            known = json.loads(coming.read_text(encoding="utf-8")).get("table")
    return coming if known == digest else None


def check_pair(csv: Path, table: pd.DataFrame, record: AssignmentRecord) -> None:
    """Check that a table and the record beside it are of one call.

    A table that another program has saved has other bytes, and is the same; rows may have been
    taken out of one. But no status is more frequent by that than the record counts.

    Parameters
    ----------
    csv : Path
    table : DataFrame
        Its rows, with the column status.
    record : AssignmentRecord
        Of the JSON beside it.

    Raises
    ------
    DataError
        They are not: a command was ended between the two, or one of them was put there.
    """
    digest = sha256_of(csv)
    if digest == record.table:
        return
    counts = table["status"].value_counts()
    more = any(count > record.status.get(str(status), 0) for status, count in counts.items())
    if _to_come(csv, digest) or (record.table and more and _is_as_written(csv)):
        raise DataError(
            f"{csv} is not what {csv.with_suffix('.json').name} beside it is about: a command was "
            "ended between writing the two; run `clusterkit assign` again (or certify, if that "
            "was ended)"
        )


def load_assigned(path: Path) -> Assigned:
    """Read an `assignments.csv` and where its images are, as reviews need them.

    Raises
    ------
    DataError
        It is missing, damaged, lacks a column, or is not what its record is about.
    """
    table = read_assignments(path)
    try:
        record = read_record(path)
    except DataError:
        # The images may still be among those that fit is given.
        record = AssignmentRecord()
    check_pair(path, table, record)
    root, link_roots = input_root(path, record), input_link_roots(path, record)
    batches = tuple(record.batches)
    return Assigned(table, root, str(path), record.fingerprint or "", link_roots, batches)


def _is_as_written(csv: Path) -> bool:
    """Whether a table begins as `assign` writes it, and few other programs."""
    with csv.open("rb") as file:
        head = file.readline(_BYTES)
    return head.startswith(BOM_UTF8 + b"image,image_id,status,") and not head.endswith(b"\r\n")
