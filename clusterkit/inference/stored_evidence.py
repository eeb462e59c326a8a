"""Evidence as a journal's files hold it, read in parts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from clusterkit.inference.evidence import Evidence, Part
from clusterkit.methods.summation import PART

# Bytes of a line before its JSON: the checksum and a blank.
MARK = 9


class StoredBatch(NamedTuple):
    """Where a batch is in a journal's files.

    Attributes
    ----------
    listing : str
        Of the images to be computed, see `Journal`.
    number : int
        Of the batch among them.
    first, rows : int
        Its first row in the file ``rows``, and how many it has.
    line : int
        Byte of the file ``batches`` at which its line begins.
    """

    listing: str
    number: int
    first: int
    rows: int
    line: int


class StoredEvidence(Evidence):
    """The evidence on N images as a journal's files hold it.

    Parameters
    ----------
    folder : Path
    form : dtype
        Of a row in the file ``rows``.
    stored : sequence of StoredBatch
        All that there are, as they follow each other.
    rows : (N,) int
        Which row of the file is each image's.
    """

    def __init__(
        self, folder: Path, form: np.dtype, stored: Sequence[StoredBatch], rows: np.ndarray
    ) -> None:
        self._folder, self._form, self._stored, self._rows = folder, form, stored, rows
        self._firsts = np.array([batch.first for batch in stored], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def parts(self, *names: str) -> Iterator[Part]:
        """Yield (rows, arrays of these names) from the first rows to the last."""
        numbers = [name for name in names if name in (self._form.names or ())]
        texts = [name for name in names if name not in numbers]
        with open(self._folder / "rows", "rb") as rows, open(self._folder / "batches", "rb") as b:
            for start in range(0, len(self), PART):
                wanted = self._rows[start : start + PART]
                part = self._numbers(rows, wanted, numbers) if numbers else {}
                part |= self._texts(b, wanted, texts) if texts else {}
                yield slice(start, start + len(wanted)), part

    def _numbers(
        self, file: BinaryIO, wanted: np.ndarray, names: list[str]
    ) -> dict[str, np.ndarray]:
        size = self._form.itemsize
        raw = bytearray(size * len(wanted))
        view, done = memoryview(raw), 0
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
            file.seek(int(run[0]) * size)
            end = done + len(run) * size
            view[done:end] = file.read(end - done)
            done = end
        found = np.frombuffer(raw, dtype=self._form)
        return {name: np.ascontiguousarray(found[name]) for name in names}

    def _texts(self, file: BinaryIO, wanted: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        found = {name: np.empty(len(wanted), dtype=object) for name in names}
        of = np.searchsorted(self._firsts, wanted, side="right") - 1
        for one in np.unique(of):
            batch, here = self._stored[one], of == one
            texts = texts_at(file, batch.line)
            for name in names:
                values = np.array(texts[name], dtype=object)
                found[name][here] = values[wanted[here] - batch.first]
        return found


def texts_at(file: BinaryIO, line: int) -> dict[str, list[str]]:
    """Return the texts of the batch whose line begins at a byte of the file ``batches``."""
    file.seek(line + MARK)
    return json.loads(file.readline())["texts"]
