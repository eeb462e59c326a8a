"""Features of many images, read from files and checked, in the order of the files' rows."""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.data.cache import room_for
from clusterkit.data.features.hdf5 import Hdf5Reader
from clusterkit.data.features.npy import NpyReader, NpzReader
from clusterkit.data.features.parquet import ParquetReader
from clusterkit.data.features.reader import FeatureReader, NamedRows
from clusterkit.data.identity import text_id
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError, shown

log = logging.getLogger("clusterkit")

READERS: dict[str, type] = {
    ".parquet": ParquetReader, ".npz": NpzReader, ".h5": Hdf5Reader, ".hdf5": Hdf5Reader,
    ".npy": NpyReader,
}  # fmt: skip

# Mebibytes of vectors in memory; more are in a temporary file.
MEMORY_MB = 2048

# Vectors of one image that differ by more than this part of their largest number are two images'.
_SAME = 1e-3

# Characters of what a file says of its encoder.
_MOST_ABOUT = 10_000


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Vectors of N images.

    Attributes
    ----------
    files : list of (str, str)
        Name and SHA-256 of each file that they were read from.
    images : list of str
        Names, N or none; "": the image has none.
    ids : list of str
        Image ids, N or none; "": the image has none.
    groups : list of str
        N or none; "": the image is in none.
    vectors : (V, N, D) float32
        V = 1, or 4 where mirror images are there too; see `reader.VIEWS`.
    encoder : dict
        What is known of the encoder; empty: nothing.
    depths : list of int
        Channels of each depth; empty: vectors are not pooled maps.
    parts : list of int
        How many depths each of joined encoders has; empty: there is one encoder.
    """

    files: list[tuple[str, str]]
    images: list[str]
    ids: list[str]
    groups: list[str]
    vectors: np.ndarray
    encoder: dict[str, Any] = field(default_factory=dict)
    depths: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.vectors.shape[1]

    @property
    def dimension(self) -> int:
        """D."""
        return self.vectors.shape[2]

    @property
    def chains(self) -> list[list[int]]:
        """Channels of each depth of each encoder; none: vectors are not pooled maps."""
        return chains_of(self.depths, self.parts)

    @property
    def name(self) -> str:
        """The files in words."""
        first = self.files[0][0]
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more files"

    @cached_property
    def row_of_name(self) -> dict[str, int]:
        """Name of an image → its first row."""
        return _first_rows(self.images)

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        """Image id → its first row."""
        return _first_rows(self.ids)

    def identity(self, row: int) -> str:
        """Id of the image in a row whose file is not there.

        It is what the table says, else 16 hex digits of the SHA-256 of name and vector: another
        image that is called the same has another.
        """
        if self.ids and self.ids[row]:
            return self.ids[row]
        name = self.images[row].encode("utf-8", "surrogatepass")
        vector = np.ascontiguousarray(self.vectors[0, row], dtype="<f4").tobytes()
        return text_id(hashlib.sha256(name + b"\0" + vector).hexdigest()[:16])


def read_features(paths: Sequence[Path | str] | Path | str) -> FeatureTable:
    """Read files of features, one after the other; a folder stands for its ``.h5`` files.

    Raises
    ------
    DataError
        A file is missing, of another type, damaged or not to be trusted, holds what is no finite
        number, or has an image twice with different vectors; or two do not fit together.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    files = [file for path in given for file in _files_of(Path(path))]
    readers = [READERS[file.suffix.lower()](file) for file in files]
    _check_together(readers)
    abouts = [_about(reader) for reader in readers]
    counts = [len(reader.rows) for reader in readers]
    starts, total = np.cumsum([0, *counts]), sum(counts)
    views, width = min(reader.views for reader in readers), readers[0].dimension
    vectors = room_for((views, total, width), np.float32, MEMORY_MB,
                       f"{total} vectors of {width} numbers")  # fmt: skip
    for reader, start in zip(readers, starts, strict=False):
        for view in range(views):
            _fill(vectors[view, start : start + len(reader.rows)], reader, view)
    named = [reader.rows for reader in readers]
    table = FeatureTable(
        files=[(file.name, sha256_of(file)) for file in files],
        images=_joined(named, "images"), ids=_joined(named, "ids"),
        groups=_joined(named, "groups"), vectors=vectors, **abouts[0],
    )  # fmt: skip
    _check_doubled(table, table.images)
    _check_doubled(table, table.ids)
    return table


def is_feature_file(path: Path) -> bool:
    """Whether a path is a file of features by its ending, or a folder of ``.h5`` files."""
    if path.is_dir():
        return any(path.glob("*.h5"))
    return path.suffix.lower() in READERS and path.is_file()


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() == ".h5" and p.is_file())
        if not found:
            raise DataError(f"features {path} is a folder without .h5 files; give a file, or a "
                            "folder with one .h5 a slide")  # fmt: skip
        return found
    if not path.exists():
        raise DataError(f"features {path} does not exist; check the path, or write it with "
                        "`clusterkit embed`")  # fmt: skip
    if path.suffix.lower() not in READERS or not path.is_file():
        raise DataError(f"features {path} is none of {', '.join(READERS)}; write it with "
                        "`clusterkit embed`, or give another file")  # fmt: skip
    return [path]


def _check_together(readers: Sequence[FeatureReader]) -> None:
    first = readers[0]
    for other in readers[1:]:
        if other.dimension != first.dimension:
            raise DataError(
                f"{other.path} has {other.dimension} numbers an image, {first.path} "
                f"{first.dimension}: they are of different encoders; give features of one"
            )
        if _about(other) != _about(first):
            raise DataError(f"{other.path} and {first.path} are features of different encoders; "
                            "give features of one")  # fmt: skip


def _about(reader: FeatureReader) -> dict[str, Any]:
    """What a file says of its encoder, as far as it can be read: encoder, depths and parts."""
    try:
        values = json.loads(reader.about[:_MOST_ABOUT]) if reader.about else {}
    except (ValueError, RecursionError):
        values = {}
    if not isinstance(values, dict):
        values = {}
    depths, parts = (_counts(values.get(key)) for key in ("depths", "parts"))
    depths = depths if 2 * sum(depths) == reader.dimension else []
    encoder = {k: v for k, v in values.items() if k != "depths" and type(v) in (str, int, bool)}
    return {"encoder": encoder, "depths": depths,
            "parts": parts if sum(parts) == len(depths) else []}  # fmt: skip


def _counts(value: Any) -> list[int]:
    """Return a list of numbers above 0 as it is, and none in the place of anything else."""
    whole = isinstance(value, list) and all(type(n) is int and n > 0 for n in value)
    return value if whole else []


def chains_of(depths: list[int], parts: list[int]) -> list[list[int]]:
    """Return the depths of each encoder.

    Parameters
    ----------
    depths : list of int
        Of all encoders.
    parts : list of int
        How many of them each has; empty: there is one encoder.

    >>> chains_of([96, 256, 512, 64, 128], [3, 2])
    [[96, 256, 512], [64, 128]]
    >>> chains_of([96, 256], [])
    [[96, 256]]
    >>> chains_of([], [])
    []
    """
    rest = iter(depths)
    return [list(islice(rest, n)) for n in parts or [len(depths)] if n]


def _fill(target: np.ndarray, reader: FeatureReader, view: int) -> None:
    """Copy one view's vectors into (n, D) float32, and check each number."""
    done = 0
    for block in reader.blocks(view):
        part = target[done : done + len(block)]
        if part.shape != block.shape:
            raise DataError(f"features {reader.path} changed while they were read; start again")
        with np.errstate(over="ignore", invalid="ignore"):
            part[:] = block
        # A float64 beyond float32's range becomes infinite, too.
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(bad):
            value = part[bad[0]][~np.isfinite(part[bad[0]])][0]
            names = reader.rows.images or reader.rows.ids
            raise DataError(f"{reader.path}: row {done + bad[0] + 1} "
                            f"('{shown(names[done + bad[0]], 80)}') holds {value}, which is no "
                            "number to learn from; leave the image out")  # fmt: skip
        done += len(block)
    if done != len(target):
        raise DataError(f"features {reader.path} end after {done:,} of {len(target):,} rows")


def _joined(parts: Iterable[NamedRows], column: str) -> list[str]:
    lists = [(getattr(part, column), len(part)) for part in parts]
    if not any(names for names, _ in lists):
        return []
    return [name for names, count in lists for name in (names or [""] * count)]


def _first_rows(names: Sequence[str]) -> dict[str, int]:
    rows = {name: row for row, name in reversed(list(enumerate(names)))}
    rows.pop("", None)
    return rows


def _check_doubled(table: FeatureTable, names: Sequence[str]) -> None:
    """Refuse an image that is there twice with different vectors."""
    first = table.row_of_name if names is table.images else table.row_of_id
    if len(first) == len(names):
        return
    differing = []
    for row, name in enumerate(names):
        other = first.get(name, row)
        if other != row and not _are_same(table.vectors[0, row], table.vectors[0, other]):
            differing.append(name)
    if differing:
        raise DataError(
            f"{table.name}: {len(differing)} images are there twice with different features, e.g. "
            f"'{shown(differing[0], 100)}'; keep one of each"
        )


def _are_same(first: np.ndarray, second: np.ndarray) -> bool:
    largest = max(np.abs(first).max(), np.abs(second).max())
    return bool(np.abs(first - second).max() <= _SAME * largest)
