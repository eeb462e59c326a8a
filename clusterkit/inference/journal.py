"""The journal that `assign` goes on from: after a kill, and when a folder has grown."""

import hashlib
import json
import logging
import os
import re
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import BaseFileLock

from clusterkit.errors import RunError
from clusterkit.formats.locking import PROBE, lock_folder
from clusterkit.inference.stored_evidence import MARK, StoredBatch, StoredEvidence, texts_at

log = logging.getLogger("clusterkit")

# Seconds of work that a power failure may cost; waiting for the disk after each batch costs more.
_SYNC = 2.0

# All that a journal's folder holds, beside its lock.
_FILES = ("key", "rows", "batches")

# What damaged lines raise where they are read.
_NO_LINE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

# Texts that there are of each image.
_TEXTS = ("names", "ids", "states", "errors")

# What the file `key` holds, or a part of it.
_KEY, _KEY_LENGTH = re.compile(b"[0-9a-f]{0,16}"), 17


class JournalImages(NamedTuple):
    """Images on which a journal holds evidence, in the order of its rows.

    Attributes
    ----------
    names : (R,) str
        See `names_of`.
    ids, states : (R,) str
        Of the bytes that were read; see `state_of`.
    failed : (R,) bool
        The image could not be read.
    listing : (R,) int
        Which of `listings` it was computed for.
    listings : list of str
        The last of them may not be finished.
    """

    names: np.ndarray
    ids: np.ndarray
    states: np.ndarray
    failed: np.ndarray
    listing: np.ndarray
    listings: list[str]


class Journal:
    """Evidence on images under one run, beside the CSV that is made of it.

    Each `assign` adds that on images that were not known before, its *listing*, batch by batch.
    Two files grow. ``rows`` holds the numbers, a fixed number of bytes an image. ``batches`` holds
    a line a batch: a checksum, then as JSON its listing and number, how many rows it has, and its
    texts; and a line for each listing that came to its end. What `kill -9` or a power failure
    leaves of an unfinished batch has no line or another checksum, and is cut off. A lock that the
    system drops when its process dies keeps two processes from writing one CSV.

    Parameters
    ----------
    out : Path
        The CSV; the journal is the folder ``<out>.journal``.
    key : dict
        Whatever decides the evidence on an image; a journal of another key is thrown away.
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
        self._stored: list[StoredBatch] = []
        self.is_finished = True
        self._recover()

    def __len__(self) -> int:
        """Return how many rows there are, those of images that have changed since included."""
        return self._stored[-1].first + self._stored[-1].rows if self._stored else 0

    def batches_of(self, listing: str) -> dict[int, range]:
        """Return the rows of each batch of a listing that is there, by its number."""
        return {batch.number: range(batch.first, batch.first + batch.rows)
                for batch in self._stored if batch.listing == listing}  # fmt: skip

    def write(self, listing: str, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep one batch of a listing: (B, …) arrays of numbers, and (B,) of text."""
        texts = {k: a.tolist() for k, a in arrays.items() if a.dtype.kind in "UO"}
        numbers = {k: a for k, a in arrays.items() if k not in texts}
        form = np.dtype([(k, a.dtype, a.shape[1:]) for k, a in numbers.items()])
        rows = np.empty(len(next(iter(numbers.values()))), dtype=form)
        for name, array in numbers.items():
            rows[name] = array
        described = [[k, a.dtype.str, a.shape[1:]] for k, a in numbers.items()]
        line = {"listing": listing, "batch": number, "rows": len(rows), "form": described,
                "texts": texts}  # fmt: skip
        first = self._rows.seek(0, os.SEEK_END) // form.itemsize
        self._rows.write(rows.tobytes())
        # The line says that the rows are there, so they go first.
        self._rows.flush()
        start = self._add_line(line, rows.tobytes())
        if time.monotonic() > self._synced + _SYNC:
            self._sync()
        self._form, self.is_finished = form, False
        self._stored.append(StoredBatch(listing, number, first, len(rows), start))

    def finish(self) -> None:
        """Note that the last listing came to its end: an image that failed is tried again."""
        if not self.is_finished:
            self._add_line({"finished": self._stored[-1].listing}, b"")
            self._sync()
            self.is_finished = True

    def images(self) -> JournalImages:
        """Return the images on which there is evidence."""
        found: dict[str, list[str]] = {name: [] for name in _TEXTS}
        for batch in self._stored:
            texts = texts_at(self._batches, batch.line)
            for name, values in found.items():
                values += texts[name]
        failed = np.array([error != "" for error in found.pop("errors")], dtype=bool)
        listings = list(dict.fromkeys(batch.listing for batch in self._stored))
        number = {listing: i for i, listing in enumerate(listings)}
        of = [number[batch.listing] for batch in self._stored]
        listing = np.repeat(np.array(of, dtype=int), [batch.rows for batch in self._stored])
        names, ids, states = (np.array(values, dtype=object) for values in found.values())
        return JournalImages(names, ids, states, failed, listing, listings)

    @property
    def form(self) -> np.dtype:
        """Numbers that a row holds, by name."""
        return self._form or np.dtype([])

    def evidence(self, rows: np.ndarray) -> StoredEvidence:
        """Return the evidence in these rows (N,), in their order."""
        return StoredEvidence(self.folder, self.form, self._stored, rows)

    def close(self) -> None:
        """Let the lock go and keep the evidence."""
        # The lock last. A full disk has no room for what is left to be written: whoever closes has
        # said so, and it is computed again.
        try:
            with suppress(OSError), self._rows, self._batches:
                pass
        finally:
            self._lock.release()

    def _add_line(self, line: dict[str, Any], rows: bytes) -> int:
        start = self._batches.seek(0, os.SEEK_END)
        self._batches.write(_signed(json.dumps(line).encode(), rows))
        self._batches.flush()
        return start

    def _sync(self) -> None:
        os.fsync(self._rows.fileno())
        os.fsync(self._batches.fileno())
        self._synced = time.monotonic()

    def _begin_anew(self, unasked: bool) -> None:
        with suppress(OSError):
            if unasked and (self.folder / "batches").stat().st_size:
                log.warning(
                    "%s: what was computed before is of another run, version, batch size or "
                    "processor; begun anew",
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
                line = json.loads(text[MARK:])
                if self._is_end(line, text):
                    self.is_finished, start = True, start + len(text)
                    continue
                listing, number, count = line["listing"], int(line["batch"]), int(line["rows"])
                form = np.dtype([(k, kind, tuple(shape)) for k, kind, shape in line["form"]])
                whole = all(_is_text(line["texts"][name], count) for name in _TEXTS)
            except _NO_LINE:
                break
            size = count * form.itemsize
            if (
                not 0 < size <= left
                or form.hasobject
                or self._form not in (None, form)
                or not whole
            ):
                break
            rows = self._rows.read(size)
            if _signed(text[MARK:-1], rows) != text:
                break
            self._form, self.is_finished = form, False
            self._stored.append(StoredBatch(str(listing), number, first, count, start))
            first, start, left = first + count, start + len(text), left - size
        self._rows.truncate(first * (self._form.itemsize if self._form else 0))
        self._batches.truncate(start)

    def _is_end(self, line: dict[str, Any], text: bytes) -> bool:
        """Whether a line says that the listing of the batches before it came to its end."""
        if not self._stored or line.get("finished") != self._stored[-1].listing:
            return False
        return _signed(text[MARK:-1], b"") == text


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


def _is_text(values: Any, count: int) -> bool:
    return len(values) == count and all(isinstance(value, str) for value in values)


def _signed(line: bytes, rows: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(rows, zlib.crc32(line)), line)
