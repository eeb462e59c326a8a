"""Features in NumPy's files: an ``.npz`` of named arrays, or an ``.npy`` beside a CSV of names.

Headers are parsed and numbers are read in blocks here, not by `numpy.load`: no member is ever
unpickled, and none is in memory as a whole.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from clusterkit.data.features.reader import (
    ABOUT,
    BLOCK,
    GROUP,
    IMAGE,
    IMAGE_ID,
    NamedRows,
    check_count,
    check_numbers,
    check_shape,
    named_rows,
    view_names,
)
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError

# Bytes of names: more is no list of images.
_MOST_TEXT = 1 << 32


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class NpzReader:
    """An ``.npz`` with arrays image or image_id and features; see `FeatureReader`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reasons(path), zipfile.ZipFile(path) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()
                     if i.filename.endswith(".npy")}  # fmt: skip
            found = list(sizes)
            columns = {name: _read_texts(archive, path, name, sizes[name])
                       for name in (IMAGE, IMAGE_ID, GROUP) if name in sizes}  # fmt: skip
            about = _read_texts(archive, path, ABOUT, sizes[ABOUT]) if ABOUT in sizes else [""]
            self.rows = named_rows(path, columns, found)
            self.about = about[0]
            self._names = view_names(path, found)
            headers = []
            for name in self._names:
                with archive.open(name + ".npy") as file:
                    headers.append(_read_header(file, path, name, sizes[name]))
        for name, header in zip(self._names, headers, strict=True):
            _check_vectors(path, name, header, headers[0])
            check_count(path, name, header.shape[0], len(self.rows))
        self.dimension, self.views = headers[0].shape[1], len(self._names)

    def blocks(self, view: int) -> Iterator[np.ndarray]:
        """Yield the vectors (n, D) of one view."""
        name = self._names[view]
        with _reasons(self.path), zipfile.ZipFile(self.path) as archive:
            size = archive.getinfo(name + ".npy").file_size
            with archive.open(name + ".npy") as file:
                header = _read_header(file, self.path, name, size)
                yield from _read_blocks(file, header)


class NpyReader:
    """An ``.npy`` with vectors, and a CSV of the same stem that names the rows."""

    about, views = "", 1

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reasons(path), path.open("rb") as file:
            header = _read_header(file, path, path.name, path.stat().st_size)
        _check_vectors(path, path.name, header, header)
        self.rows = _read_names(path)
        check_count(path, path.name, header.shape[0], len(self.rows))
        self.dimension = header.shape[1]

    def blocks(self, view: int) -> Iterator[np.ndarray]:
        """Yield the vectors (n, D)."""
        with _reasons(self.path), self.path.open("rb") as file:
            header = _read_header(file, self.path, self.path.name, self.path.stat().st_size)
            yield from _read_blocks(file, header)


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, NotImplementedError,
            OverflowError, SyntaxError, TokenError, zipfile.BadZipFile,
            zlib.error) as error:  # fmt: skip
        reason = getattr(error, "strerror", None) or str(error).strip("'\"")
        reason = " ".join(reason.split())[:120] or type(error).__name__
        raise DataError(f"features {path} cannot be read: {reason}; write the file again"
                        ) from error  # fmt: skip


def _read_names(path: Path) -> NamedRows:
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise DataError(f"{path} needs a table {table.name} beside it, with a row a vector and a "
                        "column image or image_id")  # fmt: skip
    names, lines, _ = read_table(table, wanted=(IMAGE, IMAGE_ID))
    columns = {name: [line[names.index(name)] for line in lines]
               for name in (IMAGE, IMAGE_ID, GROUP) if name in names}  # fmt: skip
    return named_rows(table, columns, names)


def _check_vectors(path: Path, name: str, header: _Header, first: _Header) -> None:
    check_numbers(path, name, header.dtype)
    check_shape(path, name, header.shape)
    if header.shape != first.shape:
        raise DataError(f"{path}: '{name}' has the shape {header.shape}, the features "
                        f"{first.shape}; all views need the same")  # fmt: skip


def _read_header(file: IO[bytes], path: Path, name: str, size: int) -> _Header:
    """Header of an array of which `size` bytes are there; the file is then at its values."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"'{name}' is of version {version} of NumPy's format")
    header = _Header(*readers[version](file))
    # Before any memory is asked for: what is said of the shape must be there.
    if not header.dtype.hasobject and header.size > size:
        raise ValueError(f"'{name}' is truncated")
    return header


def _read_blocks(file: IO[bytes], header: _Header) -> Iterator[np.ndarray]:
    count, width = header.shape
    if header.fortran and count > 1:
        values = np.frombuffer(_exactly(file, header.size), dtype=header.dtype)
        yield values.reshape((width, count)).T
        return
    row = width * header.dtype.itemsize
    step = max(1, BLOCK // row)
    for start in range(0, count, step):
        part = min(step, count - start)
        values = np.frombuffer(_exactly(file, part * row), dtype=header.dtype)
        yield values.reshape((part, width))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("it is truncated")
    return data


def _read_texts(archive: zipfile.ZipFile, path: Path, name: str, size: int) -> list[str]:
    with archive.open(name + ".npy") as file:
        header = _read_header(file, path, name, size)
        if header.dtype.hasobject:
            raise DataError(
                f"{path}: '{name}' holds Python objects (pickle), which are not read as they could "
                "run code; save it as text: np.array(names, dtype=str)"
            )
        if header.dtype.kind not in "SU" or len(header.shape) > 1:
            raise DataError(f"{path}: '{name}' is no list of texts; save it as "
                            "np.array(names, dtype=str)")  # fmt: skip
        if header.size > _MOST_TEXT:
            raise DataError(f"{path}: '{name}' has {header.size:,} bytes, which no names take")
        texts = np.frombuffer(_exactly(file, header.size), dtype=header.dtype)
    if header.dtype.kind == "S":
        return [text.decode("utf-8") for text in texts.tolist()]
    return texts.tolist()
