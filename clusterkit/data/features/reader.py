"""What every reader of a file of features gives, and how names in such a file are spelled."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from clusterkit.data.identity import text_id
from clusterkit.errors import DataError, shown

# Vectors of an image as it is and of its mirror images, in the order of
# `data.mirror_images.mirror_images`: as they are, left to right, up and down, both.
VIEWS = ("features", "features_lr", "features_ud", "features_lr_ud")
IMAGE, IMAGE_ID, GROUP = "image", "image_id", "group"
# What `embed` says of the encoder, as JSON.
ABOUT = "clusterkit"

# Bytes of a block that is read and checked at a time.
BLOCK = 1 << 24


@dataclass(frozen=True)
class NamedRows:
    """Names of the N rows of a file of features.

    Attributes
    ----------
    images : list of str
        Names of images, with forward slashes; empty: the file names none.
    ids : list of str
        Image ids; empty: the file has none.
    groups : list of str
        What images belong to, such as the slide; "": none; empty: the file has none.
    """

    images: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return max(len(self.images), len(self.ids))


class FeatureReader(Protocol):
    """One opened file of features.

    Attributes
    ----------
    path : Path
    rows : NamedRows
    dimension : int
        D.
    views : int
        1, or 4 where the mirror images of every image are there too; see `VIEWS`.
    about : str
        What the file says of its encoder, as JSON; "": nothing.
    """

    path: Path
    rows: NamedRows
    dimension: int
    views: int
    about: str

    def blocks(self, view: int) -> Iterator[np.ndarray]:
        """Yield the vectors (n, D) of one view, from the first row to the last."""


def named_rows(
    where: Path, columns: Mapping[str, Sequence[Any]], found: Sequence[str]
) -> NamedRows:
    """Names of rows from the columns image, image_id and group, as far as they are there.

    Parameters
    ----------
    where : Path
        The file, for messages.
    columns : dict
        Texts by column.
    found : sequence of str
        All that the file holds, for messages.

    Raises
    ------
    DataError
        There is neither image nor image_id, or a row has no name.
    """
    if IMAGE not in columns and IMAGE_ID not in columns:
        raise DataError(f"{where} names no images: it has neither 'image' nor 'image_id', but "
                        f"{_listed(found)}; add the images' names or ids")  # fmt: skip
    images = [plain_name(str(name)) for name in columns.get(IMAGE, ())]
    ids = [text_id(str(name).strip()) for name in columns.get(IMAGE_ID, ())]
    groups = [str(name).strip() for name in columns.get(GROUP, ())]
    for column, texts in ((IMAGE, images), (IMAGE_ID, ids)):
        if "" in texts and (column == IMAGE_ID or not ids):
            raise DataError(f"{where}: row {texts.index('') + 1} has no {column}; name every row")
    return NamedRows(images, ids, groups)


def plain_name(name: str) -> str:
    """Name of an image as manifests spell it: forward slashes, and no ``./`` in front.

    >>> plain_name("a\\\\b.png"), plain_name("./c.png"), plain_name("")
    ('a/b.png', 'c.png', '')
    """
    name = name.strip().replace("\\", "/")
    return PurePosixPath(name).as_posix() if name else ""


def check_count(where: Path, what: str, count: int, rows: int) -> None:
    """Raise a DataError unless there are as many vectors as names, and any at all."""
    if not count:
        raise DataError(f"{where} holds no features: it has 0 rows; embed some images first")
    if count != rows:
        raise DataError(f"{where}: {count:,} vectors in '{what}' and {rows:,} names; one name a "
                        "vector is needed")  # fmt: skip


def check_numbers(where: Path, what: str, dtype: np.dtype) -> None:
    """Raise a DataError unless values of this type are plain numbers."""
    if dtype.hasobject:
        raise DataError(f"{where}: '{what}' holds Python objects (pickle), which are not read as "
                        "they could run code; save it as an array of float32")  # fmt: skip
    if dtype.kind not in "fiu":
        kind = "text" if dtype.kind in "SU" else str(dtype)
        raise DataError(f"{where}: '{what}' holds {kind} where numbers belong")


def check_shape(where: Path, what: str, shape: Sequence[int]) -> None:
    """Raise a DataError unless an array is (images, numbers) with at least one number."""
    if len(shape) != 2 or shape[1] < 1:
        raise DataError(f"{where}: '{what}' has the shape {tuple(shape)}; (images, numbers an "
                        "image) is needed")  # fmt: skip


def view_names(where: Path, found: Sequence[str]) -> list[str]:
    """Names of the arrays that hold vectors: of one view, or of all four.

    Raises
    ------
    DataError
        It cannot be told which array holds them.
    """
    if VIEWS[0] in found:
        return list(VIEWS) if set(VIEWS) <= set(found) else [VIEWS[0]]
    others = [name for name in found if name not in (IMAGE, IMAGE_ID, GROUP, ABOUT)]
    if len(others) == 1:
        return others
    raise DataError(f"{where} has nothing called 'features', but {_listed(found)}; call the "
                    "vectors so")  # fmt: skip


def _listed(found: Sequence[str]) -> str:
    return shown(", ".join(f"'{shown(str(name), 30)}'" for name in found[:6]), 200) or "nothing"
