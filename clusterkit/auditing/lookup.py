"""Look-up of the row that a person means: by name, by path, or by the file's bytes."""

import os
from pathlib import Path

import pandas as pd

from clusterkit.auditing.batch import AuditBatch
from clusterkit.auditing.plotting.figures import plain
from clusterkit.data.frames import files_of
from clusterkit.data.identity import image_id_of, text_id
from clusterkit.data.imageio.read import read_bytes
from clusterkit.data.remote_places import RemoteLocation
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError


def find_row(batch: AuditBatch, image: str) -> tuple[int, Path | None]:
    """Find the row of an image.

    Parameters
    ----------
    batch : AuditBatch
    image : str
        Tried in turn: what stands in the column image, an image_id, a path to the file where
        `assign` read it, a path to a file with the same bytes. ``#k`` after any of them is
        frame k.

    Returns
    -------
    Its position in the table, and the file that was given where only its bytes named the row.

    Raises
    ------
    DataError
        There is no such row, or the file has several and a frame must be given.
    """
    file, _, frame = image.rpartition("#")
    if not (file and frame.isdecimal() and frame.isascii()):
        file, frame = image, ""
    for name, number in dict.fromkeys([(image, ""), (file, frame)]):
        # No cell of a table is such a name, and pandas' columns of text refuse to look for it.
        finders = (_by_name, _by_id) if _is_text(name) else ()
        for find in (*finders, _by_path, _by_bytes):
            rows, source = find(batch, name)
            if len(rows):
                return _frame_of(rows, number, image), source
    raise DataError(
        f"'{_shown(image)}' is not among the {len(batch.table):,} images of {batch.csv}, by name, "
        f"by path under {batch.root} or by its bytes; run `clusterkit assign` on it first, or give "
        "a name from the column image"
    )


FoundRows = tuple[pd.DataFrame, Path | None]


def _by_name(batch: AuditBatch, name: str) -> FoundRows:
    return batch.table[batch.table["image"] == name], None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_id(batch: AuditBatch, name: str) -> FoundRows:
    if not name:
        return batch.table[:0], None
    ids, name = batch.table["image_id"], text_id(name)
    exact = batch.table[ids == name]
    # Byte-identical files share an id, and all that it says.
    return (exact[:1] if len(exact) else batch.table[files_of(ids) == name]), None


def _by_path(batch: AuditBatch, name: str) -> FoundRows:
    if "\0" in name or not name:
        return batch.table[:0], None
    if isinstance(batch.root, RemoteLocation):
        written = written_name(name.removeprefix(f"{batch.root}/"))
        return batch.table[batch.table["image"] == written], None
    root = str(batch.root)
    # Both ways: the file may be a link, or gone.
    for absolute in (os.path.abspath, os.path.realpath):
        try:
            relative = Path(absolute(name)).relative_to(absolute(root))
        except ValueError:
            continue
        rows = batch.table[batch.table["image"] == written_name(relative.as_posix())]
        if len(rows):
            return rows, None
    return batch.table[:0], None


def _by_bytes(batch: AuditBatch, name: str) -> FoundRows:
    path = Path(name)
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        return batch.table[:0], None
    rows = batch.table[files_of(batch.table["image_id"]) == image_id_of(read_bytes(path))]
    return rows[rows["image"] == rows["image"].iloc[0]] if len(rows) else rows, path


def _frame_of(rows: pd.DataFrame, frame: str, image: str) -> int:
    frames = rows["image_id"].str.partition("#")[2]
    if frame:
        rows = rows[frames == str(int(frame))]
        if rows.empty:
            present = ", ".join(sorted(set(frames) - {""}, key=lambda f: (len(f), f))[:8])
            hint = f"frames are {present}" if present else f"leave #{frame} away"
            raise DataError(
                f"{_shown(image)}: there is no such frame among the assignments; {hint}"
            )
    elif (frames != "").sum() > 1:
        first = frames.iloc[0]
        raise DataError(f"{_shown(image)} holds {len(rows):,} images; say which, "
                        f"e.g. {_shown(image)}#{first}")  # fmt: skip
    return int(rows.index[0])


def _shown(image: str) -> str:
    text = plain(image)
    return text if len(text) <= 200 else "…" + text[-199:]
