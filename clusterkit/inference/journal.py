"""The journal that an interrupted `assign` resumes from, and that rows are made from."""

import fcntl
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from clusterkit.errors import RunError
from clusterkit.inference.evidence import Evidence, Part
from clusterkit.methods.summation import PART

# Seconds of work that a power failure may cost; waiting for the disk after each batch costs more.
_SYNC = 2.0


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
        Another process writes this CSV.
    """

    def __init__(self, out: Path, key: dict, fresh: bool) -> None:
        self.folder = out.with_name(out.name + ".journal")
        self._lock = _locked(self.folder, out)
        text = json.dumps(key, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        marker = self.folder / "key"
        if fresh or not marker.is_file() or marker.read_bytes() != self.fingerprint.encode():
            for old in self.folder.iterdir():
                if old.name != "lock" and not old.is_dir():
                    old.unlink()
            marker.write_text(self.fingerprint)
        self._rows = open(self.folder / "rows", "a+b")  # noqa: SIM115
        self._batches = open(self.folder / "batches", "a+b")  # noqa: SIM115
        self._form: np.dtype | None = None
        self._synced = time.monotonic()
        # Number of each finished batch: its first row in the file, rows, and where its line is.
        self._places: dict[int, tuple[int, int, int]] = {}
        self._recover()

    def done(self) -> set[int]:
        """Return the numbers of the batches that are finished."""
        return set(self._places)

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
        place = self._batches.seek(0, os.SEEK_END)
        first = self._rows.seek(0, os.SEEK_END) // form.itemsize
        self._rows.write(rows.tobytes())
        # The line says that the rows are there, so they go first.
        self._rows.flush()
        self._batches.write(_signed(json.dumps(line).encode(), rows.tobytes()))
        self._batches.flush()
        if time.monotonic() > self._synced + _SYNC:
            self._sync()
        self._form, self._places[number] = form, (first, len(rows), place)

    def _sync(self) -> None:
        os.fsync(self._rows.fileno())
        os.fsync(self._batches.fileno())
        self._synced = time.monotonic()

    def evidence(self) -> "StoredEvidence":
        """Return all finished batches, joined in the order of their numbers."""
        places = [self._places[number] for number in sorted(self._places)]
        return StoredEvidence(self.folder, self._form or np.dtype([]), places)

    def leave(self) -> None:
        """Let go of the lock in a process that was forked: this one's end alone gives it back."""
        self._lock.close()

    def close(self) -> None:
        """Let the lock go and keep the batches."""
        # The lock last, and even if a full disk has no room for what is left to be written.
        with self._lock, self._rows, self._batches:
            pass

    def remove(self) -> None:
        """Delete the journal: the CSV is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def _recover(self) -> None:
        """Find the finished batches, and cut off what follows them."""
        self._rows.seek(0)
        self._batches.seek(0)
        place = first = 0
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
            self._form, self._places[number] = form, (first, count, place)
            first, place, left = first + count, place + len(text), left - size
        self._rows.truncate(first * (self._form.itemsize if self._form else 0))
        self._batches.truncate(place)


def _locked(folder: Path, out: Path) -> TextIO:
    """Make a folder and return its file ``lock``, which no other process has."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / "lock", "w")  # noqa: SIM115
        except FileNotFoundError:
            # Another process was done and took the folder away just now.
            continue
        except FileExistsError as error:
            raise RunError(f"{folder} is in the way; move it, or give another --out") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / "lock")):
                return lock
        except FileNotFoundError:
            pass
        except OSError as error:
            lock.close()
            raise RunError(
                f"another clusterkit is writing {out}; wait for it or give another --out"
            ) from error
        lock.close()


def _signed(line: bytes, rows: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(rows, zlib.crc32(line)), line)


class StoredEvidence(Evidence):
    """The evidence on N images as a journal's files hold it.

    Parameters
    ----------
    folder : Path
    form : dtype
        Of a row in the file ``rows``.
    places : list of (int, int, int)
        For each batch: its first row in that file, how many it has, and where its line is.
    """

    def __init__(self, folder: Path, form: np.dtype, places: list[tuple[int, int, int]]) -> None:
        self._folder, self._form, self._places = folder, form, places
        self._n = sum(count for _, count, _ in places)

    def __len__(self) -> int:
        return self._n

    def parts(self, *names: str) -> Iterator[Part]:
        """Yield (rows, arrays of these names) from the first rows to the last."""
        numbers = [name for name in names if name in (self._form.names or ())]
        texts = [name for name in names if name not in numbers]
        start = 0
        with open(self._folder / "rows", "rb") as rows, open(self._folder / "batches", "rb") as b:
            for places in self._grouped():
                count = sum(n for _, n, _ in places)
                part = self._numbers(rows, places, numbers, count) if numbers else {}
                part |= _texts(b, places, texts) if texts else {}
                yield slice(start, start + count), part
                start += count

    def _grouped(self) -> Iterator[list[tuple[int, int, int]]]:
        group: list[tuple[int, int, int]] = []
        for place in self._places:
            if group and sum(n for _, n, _ in group) + place[1] > PART:
                yield group
                group = []
            group.append(place)
        if group:
            yield group

    def _numbers(self, file, places: list, names: list[str], count: int) -> dict[str, np.ndarray]:
        found = np.empty(count, dtype=self._form)
        raw, done = memoryview(found.view(np.uint8)), 0
        for first, n, _ in places:
            file.seek(first * self._form.itemsize)
            end = done + n * self._form.itemsize
            file.readinto(raw[done:end])
            done = end
        return {name: np.ascontiguousarray(found[name]) for name in names}


def _texts(file, places: list, names: list[str]) -> dict[str, np.ndarray]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for *_, place in places:
        file.seek(place + 9)
        texts = json.loads(file.readline())["texts"]
        for name in names:
            found[name] += texts[name]
    return {name: np.array(values, dtype=object) for name, values in found.items()}
