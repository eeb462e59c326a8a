"""Look-up of features by image: which row of a `FeatureTable` is which image's."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from clusterkit.config import ImageConfig
from clusterkit.data.features.reader import plain_name
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.frames import names_of
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.read import decode
from clusterkit.data.loading import ImageBatch, ImageRef, image_refs, load_batches, unread_batches
from clusterkit.data.manifest_rows import sort_rows
from clusterkit.data.remote_files import may_be_there
from clusterkit.errors import DataError, ImageError, shown

log = logging.getLogger("clusterkit")

# Names that a message lists, and images whose files are looked into for why they have no features.
_NAMED, _LOOKED_INTO = 3, 100

CHANGED = "has other bytes than the image that its features are of; embed it again"


def row_of(table: FeatureTable, name: str, path: str, image_id: str) -> int:
    """Row of an image's features; -1: there are none, -2: they are of other bytes.

    Parameters
    ----------
    table : FeatureTable
    name : str
        Of the image, with its frame; see `frames.name_of`.
    path : str
        Absolute path of its file, with its frame: a table may name images by that.
    image_id : str
        Of its file; "": it is not known.
    """
    found = table.row_of_id.get(image_id, -1) if image_id else -1
    if found >= 0:
        return found
    for spelled in (name, path):
        found = table.row_of_name.get(plain_name(spelled), -1)
        if found >= 0:
            break
    known = table.ids[found] if found >= 0 and table.ids else ""
    # A name alone says little: two folders may hold files of one name.
    return -2 if image_id and known and known != image_id else found


def rows_of_images(table: FeatureTable, rows: pd.DataFrame, *, needed: np.ndarray) -> np.ndarray:
    """Rows (N,) of the features of images; -1: there are none.

    Parameters
    ----------
    table : FeatureTable
    rows : DataFrame (N)
        Columns image, path, frame and image_id; "": not known.
    needed : (N,) bool
        Images that must have features, unless their files are there and cannot be read.

    Raises
    ------
    DataError
        Images have none, or those of other bytes.
    """
    names, refs = names_of(rows), image_refs(rows)
    found = np.array([
        row_of(table, name, f"{path}#{frame}" if frame else path, identity)
        for name, (path, frame), identity in zip(names, refs, rows["image_id"], strict=True)
    ], dtype=int)  # fmt: skip
    changed = np.flatnonzero(needed & (found == -2))
    if len(changed):
        first = _listed(names[changed].tolist())
        raise DataError(f"{first} {CHANGED}, or give --features of these images (not {table.name})")
    missing = np.flatnonzero(needed & (found == -1))
    if len(missing) and not _are_unreadable([refs[i] for i in missing]):
        _refuse(table, names[missing].tolist(), len(names))
    return np.maximum(found, -1)


def _refuse(table: FeatureTable, names: Sequence[str], total: int) -> NoReturn:
    listed = ", ".join(f"'{shown(name, 60)}'" for name in names[:_NAMED])
    known = next(iter(table.row_of_name or table.row_of_id), "")
    raise DataError(
        f"{len(names)} of {total} images have no features in {table.name}, e.g. {listed}; there, "
        f"images are called e.g. '{shown(known, 60)}': embed these too, or name them alike"
    )


def _listed(names: Sequence[str]) -> str:
    first = f"'{shown(names[0], 80)}'"
    return first if len(names) == 1 else f"{len(names)} images, e.g. {first}:"


def _are_unreadable(refs: Sequence[ImageRef]) -> bool:
    """Whether files of images are there, and none can be read: no encoder has seen them either."""
    for path, frame in refs[:_LOOKED_INTO]:
        if not os.path.lexists(path):
            return False
        try:
            decode(read_identified(path, frame)[0], 32, None, int(frame or 0))
        except ImageError:
            continue
        return False
    return len(refs) <= _LOOKED_INTO


def with_features(rows: pd.DataFrame, table: FeatureTable) -> pd.DataFrame:
    """Rows of a manifest with a column `vector`: which row of the table is an image's; -1: none.

    Ids and groups that are not known are the table's.

    Raises
    ------
    DataError
        A labelled image has no features, or those of other bytes.
    """
    labelled = rows["label"].notna().to_numpy()
    found = rows_of_images(table, rows, needed=labelled)
    rows = completed(rows.assign(vector=found), table)
    without = np.flatnonzero(~labelled & (found < 0))
    if len(without):
        log.warning("%d unlabelled images have no features in %s, e.g. '%s': nothing is learned "
                    "from them", len(without), table.name,
                    shown(names_of(rows)[without[0]], 80))  # fmt: skip
    return rows


def inputs_of_table(table: FeatureTable, root: Path) -> pd.DataFrame:
    """Rows of all images of a table, as `read_inputs` gives them; `root` is where files may be.

    Raises
    ------
    DataError
        The table does not name its images.
    """
    names = [name for name in dict.fromkeys(table.images) if name]
    if len(names) < len(set(table.ids) | set(names)) and not names:
        raise DataError(f"{table.name} has ids and no names of images; give the folder or CSV of "
                        "the images, and this file with --features")  # fmt: skip
    parts = []
    for name in names:
        known = table.ids[table.row_of_name[name]] if table.ids else ""
        frame = known.partition("#")[2]
        file = name.removesuffix(f"#{frame}") if frame else name
        parts.append((file, frame if file != name else None))
    rows = pd.DataFrame(parts, columns=["image", "frame"], dtype=object)
    rows["path"] = [str(root.absolute() / image) for image in rows["image"]]
    rows["group"] = None
    return sort_rows(rows.where(rows.notna(), None))[["image", "path", "group", "frame"]]


def vector_of(table: FeatureTable, image: str) -> np.ndarray:
    """Vector (D,) of one image: its file, or its name as the table has it.

    Raises
    ------
    DataError
        It has none, or those of other bytes.
    """
    identity, (file, _, frame) = "", image.rpartition("#")
    path = Path(image)
    if not path.exists() and file and frame.isdecimal():
        path = Path(file)
    if path.is_file():
        with suppress(ImageError):
            identity = read_identified(path, frame if str(path) == file else None)[1]
    row = row_of(table, image, os.path.abspath(image), identity)
    if row == -2:
        raise DataError(f"{shown(image, 100)} {CHANGED}")
    if row < 0:
        _refuse(table, [image], 1)
    return table.vectors[0, row].copy()


def look_up(table: FeatureTable, inputs: pd.DataFrame) -> "tuple[GivenVectors, pd.DataFrame]":
    """Features of images to label, and these images with groups filled in.

    Files are read for their ids only where the table does not know them by name.

    Parameters
    ----------
    table : FeatureTable
    inputs : DataFrame (N)
        As `read_inputs` gives them.

    Raises
    ------
    DataError
        Images have no features.
    """
    names, ids = names_of(inputs), [""] * len(inputs)
    if table.ids:
        for i, (path, frame) in enumerate(image_refs(inputs)):
            spelled = f"{path}#{frame}" if frame else path
            if row_of(table, names[i], spelled, "") < 0 and may_be_there(path):
                with suppress(ImageError):
                    ids[i] = read_identified(path, frame)[1]
    needed = np.ones(len(inputs), dtype=bool)
    rows = rows_of_images(table, inputs.assign(image_id=ids), needed=needed)
    filled = completed(inputs.assign(vector=rows), table)
    return GivenVectors(table, rows), filled.drop(columns="vector")


def completed(rows: pd.DataFrame, table: FeatureTable) -> pd.DataFrame:
    """Rows with a column `vector`, with ids (where there is such a column) and groups filled in."""
    vectors, columns = rows["vector"].tolist(), {}
    if "image_id" in rows:
        columns["image_id"] = [
            identity or (table.identity(row) if row >= 0 else "")
            for identity, row in zip(rows["image_id"], vectors, strict=True)
        ]
    if table.groups:
        columns["group"] = [
            group if isinstance(group, str) and group else (table.groups[row] or None)
            if row >= 0 else group for group, row in zip(rows["group"], vectors, strict=True)
        ]  # fmt: skip
    return rows.assign(**{k: pd.Series(v, index=rows.index, dtype=object)
                          for k, v in columns.items()})  # fmt: skip


class GivenVectors:
    """The features of a batch's images, in the order of its rows.

    Parameters
    ----------
    table : FeatureTable
    rows : (N,) int
        Of `table`; -1: the image has none.
    """

    def __init__(self, table: FeatureTable, rows: np.ndarray) -> None:
        self.table, self.rows = table, rows

    def of(self, images: np.ndarray) -> "GivenVectors":
        """Return the features of some of the images (M,) int alone."""
        return GivenVectors(self.table, self.rows[images])

    def batches(
        self,
        refs: list[ImageRef],
        how: ImageConfig,
        batch_size: int,
        workers: int,
        skip: frozenset[int] | set[int] = frozenset(),
    ) -> Iterator[ImageBatch]:
        """Batches of the images with vectors for pixels, as `load_batches` reads them.

        Pixels are read where files are there, for copies and appearance.
        """
        if any(may_be_there(path) for path, _ in refs):
            batches = load_batches(refs, how, batch_size, workers, skip)
        else:
            batches = unread_batches(refs, batch_size, skip)
        with closing(batches):
            for batch in batches:
                yield self.put_into(batch, batch.number * batch_size)

    def put_into(self, batch: ImageBatch, start: int) -> ImageBatch:
        """Return a batch whose first image is number `start`, with vectors for pixels.

        An image that has a vector is no error, though its file be gone: then its appearance is
        not known (NaN), and it resembles none.
        """
        table, count = self.table, len(batch.ids)
        vectors = np.zeros((count, table.dimension), dtype=np.float32)
        ids, errors = batch.ids.astype(object), batch.errors.astype(object)
        appearance = batch.appearance.copy()
        for i, row in enumerate(self.rows[start : start + count].tolist()):
            known = table.ids[row] if row >= 0 and table.ids else ""
            if ids[i] and known and known != ids[i]:
                row = table.row_of_id.get(ids[i], -2)
            if row < 0:
                errors[i] = CHANGED if row == -2 else errors[i] or "has no features"
                continue
            vectors[i] = table.vectors[0, row]
            ids[i] = ids[i] or table.identity(row)
            if errors[i]:
                appearance[i], errors[i] = np.nan, ""
        return replace(batch, images=vectors, ids=ids.astype(str), errors=errors.astype(str),
                       appearance=appearance)  # fmt: skip
