"""The journal that an interrupted `assign` resumes from, and that rows are made from."""

import hashlib
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import BaseFileLock

from clusterkit.errors import RunError
from clusterkit.formats.locking import PROBE, lock_folder, remove_folder
from clusterkit.inference.evidence import Evidence, Part
from clusterkit.methods.summation import PART

log = logging.getLogger("clusterkit")

# Seconds of work that a power failure may cost; waiting for the disk after each batch costs more.
_SYNC = 2.0

# All that a journal's folder holds, beside its lock.
_FILES = ("key", "rows", "batches")

# What the file `key` holds, or a part of it.
_KEY, _KEY_LENGTH = re.compile(b"[0-9a-f]{0,16}"), 17


class StoredBatch(NamedTuple):
    """Where a batch is in a journal's files.

    Attributes
    ----------
    first : int
        Its first row in the file ``rows``.
    rows : int
        How many rows it has.
    line : int
        Byte of the file ``batches`` at which its line begins.
    """

    first: int
    rows: int
    line: int


class Journal:
    """Finished batches of one input under one run, beside the CSV they will become.

    Two files grow. ``rows`` holds the numbers, a fixed number of bytes an image. ``batches`` holds
    a line a batch: a checksum, then as JSON its number, how many rows it has, and its texts. What
    `kill -9` or a power failure leaves of an unfinished batch has no line or another checksum, and
    is cut off. A lock that the system drops when its process dies keeps two processes from writing
    one CSV.

    Parameters
    ----------
    out : Path
        The CSV to come; the journal is the folder ``<out>.journal``.
    key : dict
        Whatever decides the rows; a journal of another key is thrown away.
    fresh : bool
        Throw away what is there.

    Raises
    ------
    RunError
        Another process writes this CSV, or the folder is a link or holds somebody's files.
    """

    def __init__(self, out: Path, key: dict, fresh: bool) -> None:
        self.folder = out.with_name(out.name + ".journal")
        self._lock = _locked(self.folder, out)
        text = json.dumps(key, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        marker = self.folder / "key"
        known = marker.is_file() and marker.read_bytes() == self.fingerprint.encode()
        if fresh or not known:
            self._begin_anew(marker.is_file() and not fresh)
            # At once: a buffer that is written again when it is closed may make it longer.
            with open(marker, "wb", buffering=0) as file:
                file.write(self.fingerprint.encode())
        self._rows = open(self.folder / "rows", "a+b")  # noqa: SIM115
        self._batches = open(self.folder / "batches", "a+b")  # noqa: SIM115
        self._form: np.dtype | None = None
        self._synced = time.monotonic()
        self._stored: dict[int, StoredBatch] = {}
        self._recover()

    def done(self) -> set[int]:
        """Return the numbers of the batches that are finished."""
        return set(self._stored)

    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep one finished batch: (B, …) arrays of numbers, and (B,) of text."""
        texts = {k: a.tolist() for k, a in arrays.items() if a.dtype.kind in "UO"}
        numbers = {k: a for k, a in arrays.items() if k not in texts}
        form = np.dtype([(k, a.dtype, a.shape[1:]) for k, a in numbers.items()])
        rows = np.empty(len(next(iter(numbers.values()))), dtype=form)
        for name, array in numbers.items():
            rows[name] = array
        described = [[k, a.dtype.str, a.shape[1:]] for k, a in numbers.items()]
        line = {"batch": number, "rows": len(rows), "form": described, "texts": texts}
        start = self._batches.seek(0, os.SEEK_END)
        first = self._rows.seek(0, os.SEEK_END) // form.itemsize
        self._rows.write(rows.tobytes())
        # The line says that the rows are there, so they go first.
        self._rows.flush()
        self._batches.write(_signed(json.dumps(line).encode(), rows.tobytes()))
        self._batches.flush()
        if time.monotonic() > self._synced + _SYNC:
            self._sync()
        self._form, self._stored[number] = form, StoredBatch(first, len(rows), start)

    def _sync(self) -> None:
        os.fsync(self._rows.fileno())
        os.fsync(self._batches.fileno())
        self._synced = time.monotonic()

    def evidence(self) -> "StoredEvidence":
        """Return all finished batches, joined in the order of their numbers."""
        stored = [self._stored[number] for number in sorted(self._stored)]
        return StoredEvidence(self.folder, self._form or np.dtype([]), stored)

    def close(self) -> None:
        """Let the lock go and keep the batches."""
        # The lock last. A full disk has no room for what is left to be written: whoever closes has
        # said so, and it is computed again.
        try:
            with suppress(OSError), self._rows, self._batches:
                pass
        finally:
            self._lock.release()

    def remove(self) -> None:
        """Delete the journal: the CSV is whole."""
        # Closed first: Windows deletes no open file.
        with suppress(OSError), self._rows, self._batches:
            pass
        remove_folder(self.folder, self._lock, self._empty)

    def _begin_anew(self, unasked: bool) -> None:
        with suppress(OSError):
            if unasked and (self.folder / "batches").stat().st_size:
                log.warning(
                    "%s: what an interrupted assign left is of other images, another run, version, "
                    "batch size or processor; begun anew",
                    self.folder,
                )
        self._empty()

    def _empty(self) -> None:
        # The key last: without it nobody knows whose the others are.
        for name in reversed(_FILES):
            (self.folder / name).unlink(missing_ok=True)
        for probe in self.folder.glob(f"{PROBE}*"):
            # One that was killed between making it and taking it away left it.
            probe.unlink(missing_ok=True)

    def _recover(self) -> None:
        """Find the finished batches, and cut off what follows them."""
        self._rows.seek(0)
        self._batches.seek(0)
        start = first = 0
        left = os.fstat(self._rows.fileno()).st_size
        for text in self._batches:
            try:
                line = json.loads(text[9:])
                number, count = int(line["batch"]), int(line["rows"])
                form = np.dtype([(k, kind, tuple(shape)) for k, kind, shape in line["form"]])
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                break
            size = count * form.itemsize
            if not 0 < size <= left or form.hasobject or self._form not in (None, form):
                break
            rows = self._rows.read(size)
            if _signed(text[9:-1], rows) != text:
                break
            self._form, self._stored[number] = form, StoredBatch(first, count, start)
            first, start, left = first + count, start + len(text), left - size
        self._rows.truncate(first * (self._form.itemsize if self._form else 0))
        self._batches.truncate(start)


def _locked(folder: Path, out: Path) -> BaseFileLock:
    """Make a folder, and hold the lock on a file in it until it is released or this ends."""

    def owns(path: Path) -> bool:
        # Without a key, what is called as one of its files and is not empty is somebody's.
        return path.name in _FILES and (_has_key(folder) or not path.stat().st_size)

    lock = lock_folder(folder, owns, "assign", "--out")
    if lock is None:
        raise RunError(f"another clusterkit is writing {out}; wait for it or give another --out")
    return lock


def _has_key(folder: Path) -> bool:
    """Whether a folder is known for a journal: a process may have been ended in writing the key."""
    key = folder / "key"
    try:
        return key.is_file() and bool(_KEY.fullmatch(key.read_bytes()[:_KEY_LENGTH]))
    except OSError:
        return False


def _signed(line: bytes, rows: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(rows, zlib.crc32(line)), line)


class StoredEvidence(Evidence):
    """The evidence on N images as a journal's files hold it.

    Parameters
    ----------
    folder : Path
    form : dtype
        Of a row in the file ``rows``.
    stored : list of StoredBatch
    """

    def __init__(self, folder: Path, form: np.dtype, stored: list[StoredBatch]) -> None:
        self._folder, self._form, self._stored = folder, form, stored
        self._n = sum(batch.rows for batch in stored)

    def __len__(self) -> int:
        return self._n

    def parts(self, *names: str) -> Iterator[Part]:
        """Yield (rows, arrays of these names) from the first rows to the last."""
        numbers = [name for name in names if name in (self._form.names or ())]
        texts = [name for name in names if name not in numbers]
        start = 0
        with open(self._folder / "rows", "rb") as rows, open(self._folder / "batches", "rb") as b:
            for stored in self._grouped():
                count = sum(batch.rows for batch in stored)
                part = self._numbers(rows, stored, numbers) if numbers else {}
                part |= _texts(b, stored, texts) if texts else {}
                yield slice(start, start + count), part
                start += count

    def _grouped(self) -> Iterator[list[StoredBatch]]:
        """Yield batches that make a part together."""
        group: list[StoredBatch] = []
        for batch in self._stored:
            if group and sum(one.rows for one in group) + batch.rows > PART:
                yield group
                group = []
            group.append(batch)
        if group:
            yield group

    def _numbers(
        self, file: BufferedReader, stored: list[StoredBatch], names: list[str]
    ) -> dict[str, np.ndarray]:
        size = self._form.itemsize
        raw = bytearray(size * sum(batch.rows for batch in stored))
        view, done = memoryview(raw), 0
        for batch in stored:
            file.seek(batch.first * size)
            end = done + batch.rows * size
            file.readinto(view[done:end])
            done = end
        found = np.frombuffer(raw, dtype=self._form)
        return {name: np.ascontiguousarray(found[name]) for name in names}


def _texts(
    file: BufferedReader, stored: list[StoredBatch], names: list[str]
) -> dict[str, np.ndarray]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for batch in stored:
        # Behind the checksum and a blank.
        file.seek(batch.line + 9)
        texts = json.loads(file.readline())["texts"]
        for name in names:
            found[name] += texts[name]
    return {name: np.array(values, dtype=object) for name, values in found.items()}
