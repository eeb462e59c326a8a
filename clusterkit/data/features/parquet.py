"""Features in Parquet: a column of vectors, or a column a number, beside the images' names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.data.features.reader import (
    ABOUT,
    BLOCK,
    GROUP,
    IMAGE,
    IMAGE_ID,
    check_count,
    check_shape,
    named_rows,
    view_names,
)
from clusterkit.errors import DataError, shown

_TEXTS = (IMAGE, IMAGE_ID, GROUP)

# What pandas makes of an index that has no name.
_INDEX = "__index_level_"


class ParquetReader:
    """Columns image or image_id, and vectors; see `FeatureReader`.

    The vectors are lists in a column ``features`` (or the only column of lists), or else numbers
    in all other columns, in the order in which they stand.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            schema = file.schema_arrow
            if len(set(schema.names)) < len(schema.names):
                raise DataError(f"{path} has two columns of one name; give each its own")
            texts = [name for name in _TEXTS if name in schema.names]
            columns = {name: _read_texts(file, path, name) for name in texts}
            self.rows = named_rows(path, columns, schema.names)
            about = (schema.metadata or {}).get(ABOUT.encode(), b"")
            self.about = about.decode("utf-8", "replace")
            self._columns = _vector_columns(path, schema)
            count = file.metadata.num_rows
            check_count(path, self._columns[0][0], count, len(self.rows))
            first = next(_blocks(file, path, self._columns[0]))
        self.dimension, self.views = first.shape[1], len(self._columns)
        check_shape(path, self._columns[0][0], first.shape)

    def blocks(self, view: int) -> Iterator[np.ndarray]:
        """Yield the vectors (n, D) of one view."""
        with _opened(self.path) as file:
            yield from _blocks(file, self.path, self._columns[view], self.dimension)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{path}: reading .parquet needs the package pyarrow: pip install "
                        "'clusterkit[features]'") from error  # fmt: skip
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"features {path} cannot be read: {' '.join(reason.split())[:120]}; write "
                        "the file again") from error  # fmt: skip


def _read_texts(file: Any, path: Path, name: str) -> list[str]:
    import pyarrow as pa

    column = file.read(columns=[name]).column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column '{name}' holds {kind}, not text")
    return [text or "" for text in column.to_pylist()]


def _vector_columns(path: Path, schema: Any) -> list[list[str]]:
    """Columns of each view: one of lists, or all of numbers."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        types = pa.types
        return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)

    others = [f for f in schema if f.name not in _TEXTS and not f.name.startswith(_INDEX)]
    lists = [f for f in others if is_list(f.type)]
    for found in lists:
        if not _is_number(found.type.value_type):
            raise DataError(f"{path}: column '{shown(found.name, 30)}' holds lists of "
                            f"{found.type.value_type} where numbers belong")  # fmt: skip
    if lists:
        return [[name] for name in view_names(path, [f.name for f in lists])]
    if not others:
        raise DataError(f"{path} has no column of features beside the images' names")
    for found in others:
        if not _is_number(found.type):
            raise DataError(f"{path}: column '{shown(found.name, 30)}' holds {found.type} where "
                            "numbers belong; leave it out, or put the vectors into one column "
                            "'features'")  # fmt: skip
    return [[f.name for f in others]]


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _blocks(
    file: Any, path: Path, columns: Sequence[str], dimension: int | None = None
) -> Iterator[np.ndarray]:
    rows = max(1, min(65_536, BLOCK // (8 * (dimension or 1024))))
    done = 0
    for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
        if batch.num_rows:
            block = _to_array(batch, path, columns, done, dimension)
            dimension, done = block.shape[1], done + batch.num_rows
            yield block


def _to_array(
    batch: Any, path: Path, columns: Sequence[str], done: int, dimension: int | None
) -> np.ndarray:
    """Values (n, D) of one batch of rows, of which `done` are before it."""
    import pyarrow as pa

    column = batch.column(0)
    if len(columns) > 1 or not hasattr(column.type, "value_type"):
        parts = [batch.column(i).to_numpy(zero_copy_only=False) for i in range(len(columns))]
        return np.stack(parts, axis=1)
    if column.null_count:
        row = done + column.is_null().to_pylist().index(True) + 1
        raise DataError(f"{path}: row {row} has no vector; leave the row out")
    values = column.flatten()
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
    else:
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        width = int(lengths[0]) if dimension is None else dimension
        if (lengths != width).any():
            row = int(np.flatnonzero(lengths != width)[0])
            raise DataError(f"{path}: row {done + row + 1} has a vector of {lengths[row]} numbers, "
                            f"those before it have {width}; all need the same")  # fmt: skip
    return values.to_numpy(zero_copy_only=False).reshape((len(column), width))
