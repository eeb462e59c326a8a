"""The journal that an interrupted `assign` resumes from: one small file a finished batch."""

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from clusterkit.errors import RunError


class Journal:
    """Finished batches of one input under one run, beside the CSV they will become.

    Each batch is written under a temporary name and renamed, so `kill -9` at any time leaves
    whole batches only. A lock that the system drops when its process dies keeps two processes
    from writing one CSV.

    Parameters
    ----------
    out : Path
        The CSV to come; the journal is the folder ``<out>.journal``.
    key : dict
        Whatever decides the rows; a journal of another key is thrown away.
    fresh : bool
        Throw away what is there.
    """

    def __init__(self, out: Path, key: dict, fresh: bool) -> None:
        self.folder = out.with_name(out.name + ".journal")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunError(
                f"another clusterkit is writing {out}; wait for it or give another --out"
            ) from error
        text = json.dumps(key, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        marker = self.folder / "key"
        if fresh or not marker.is_file() or marker.read_text() != self.fingerprint:
            for old in self.folder.glob("batch-*"):
                old.unlink()
            marker.write_text(self.fingerprint)

    def done(self) -> set[int]:
        """Return the numbers of the batches that are finished."""
        return {int(p.stem.split("-")[1]) for p in self.folder.glob("batch-*.npz")}

    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep one finished batch."""
        partial = self.folder / f"batch-{number:08d}.partial"
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, partial.with_suffix(".npz"))

    def read(self) -> dict[str, np.ndarray]:
        """Return all finished batches, joined in order."""
        parts = []
        for number in sorted(self.done()):
            with np.load(self.folder / f"batch-{number:08d}.npz", allow_pickle=False) as part:
                parts.append(dict(part))
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}

    def close(self) -> None:
        """Let the lock go and keep the batches."""
        self._lock.close()

    def remove(self) -> None:
        """Delete the journal: the CSV is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
