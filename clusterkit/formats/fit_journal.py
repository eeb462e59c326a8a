"""The journal that an interrupted `fit` goes on from: what took long, kept beside the run to come.

In the folder ``<run>.journal`` are a lock, a fingerprint of whatever decides the run, and pieces:
tensors and plain values, each whole or not there. Nothing in it is executed, and a piece that is
not what was written is thrown away.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from clusterkit.encoders.checksums import sha256_of_tensors
from clusterkit.formats.atomic import replacing
from clusterkit.formats.run_reservation import OPTION, RunReservation, check_runs, remove_left
from clusterkit.formats.unfinished_runs import remove_unfinished
from clusterkit.output import write_reason, writing

log = logging.getLogger("clusterkit")

_KEY, _PIECE = "key", ".safetensors"

# Tensors of a piece stand under this name, beside its values and the digest of both.
_OF, _ABOUT, _DIGEST = "tensors.", "about", "digest"

_DAMAGE = (OSError, SafetensorError, KeyError, ValueError, RecursionError, RuntimeError)


class Piece(NamedTuple):
    """What was kept under one name.

    Attributes
    ----------
    tensors : dict of Tensor
        On the CPU.
    values : dict
        Plain values, as JSON has them.
    """

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


class KeepsNothing:
    """A journal that forgets: of whoever trains without writing a run."""

    def load(self, name: str) -> Piece | None:
        """Return what was kept under a name; None: nothing was."""
        return None

    def keep(
        self, name: str, tensors: dict[str, torch.Tensor], values: dict[str, Any] | None = None
    ) -> None:
        """Keep tensors and plain values under a name (lower-case letters, digits, hyphens)."""

    def drop(self, name: str) -> None:
        """Throw away what was kept under a name."""

    def tensor(self, name: str) -> torch.Tensor | None:
        """Return the tensor that was kept under a name, by that name; None: none was."""
        piece = self.load(name)
        return None if piece is None else piece.tensors.get(name)


class FitJournal(KeepsNothing):
    """Reserves a run that is being fitted, and keeps what has been done of it.

    Parameters
    ----------
    run : Path or None
        Where the run will be; None: `begin` finds a name under ``runs/`` that nobody has.

    Raises
    ------
    RunError, OutputError
        See `RunReservation.of`.
    """

    def __init__(self, run: Path | None) -> None:
        self._place: RunReservation | None = None
        self._fingerprint = b""
        self._full = False
        if run is None:
            check_runs()
        else:
            self._place = RunReservation.of(run)

    @classmethod
    @contextmanager
    def reserved(cls, run: Path | None) -> "Iterator[FitJournal]":
        """Yield a journal that is gone when the block ends, and kept where it is interrupted."""
        journal = cls(run)
        try:
            yield journal
        except BaseException:
            journal.close()
            raise
        journal.remove()

    @property
    def place(self) -> RunReservation:
        """What is reserved; one that nobody named, once `begin` was called."""
        assert self._place is not None, "begin() reserves it"
        return self._place

    def begin(self, key: dict[str, Any], fresh: bool) -> None:
        """Go on from what is kept under the same key; anything else is thrown away.

        Parameters
        ----------
        key : dict
            Plain values: whatever decides what is kept.
        fresh : bool
            Throw away what is there in any case.
        """
        text = json.dumps(key, sort_keys=True)
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest().encode()
        if self._place is None:
            self._place = RunReservation.under_runs(self._is_of_key)
        with writing(self.place.folder, OPTION):
            remove_unfinished(self.place.run)
            remove_left(self.place.run.parent, _is_empty)
            self._take_over(fresh)

    def load(self, name: str) -> Piece | None:
        """Return what was kept under a name; None: nothing was, or it is damaged."""
        path = self._path(name)
        try:
            return self._read(name, path.read_bytes())
        except FileNotFoundError:
            return None
        except _DAMAGE:
            log.warning("%s is damaged and is thrown away: what it held is computed anew", path)
            self.drop(name)
            return None

    def keep(
        self, name: str, tensors: dict[str, torch.Tensor], values: dict[str, Any] | None = None
    ) -> None:
        """Keep tensors and plain values under a name (lower-case letters, digits, hyphens).

        Where there is no room, nothing more is kept, and it is said once: the fit goes on.
        """
        if self._full:
            return
        about = _bytes(json.dumps(values or {}).encode())
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        digest = _bytes(self._digest(name, plain, about))
        stored = {_OF + k: v for k, v in plain.items()} | {_ABOUT: about, _DIGEST: digest}
        try:
            # A power failure may leave it damaged, which is found out by its digest.
            with replacing(self._path(name), "wb", sync=False) as file:
                file.write(save(stored))
        except OSError as error:
            self._full = True
            log.warning("%s: %s; fit goes on, and nothing more is kept for an interruption",
                        self.place.folder, write_reason(error))  # fmt: skip

    def drop(self, name: str) -> None:
        """Throw away what was kept under a name."""
        with suppress(OSError):
            self._path(name).unlink()

    def close(self) -> None:
        """Let the reservation go and keep the pieces; without any nothing is left."""
        if self._place is None:
            return
        if _is_empty(self._place.folder):
            self._place.remove()
        else:
            self._place.release()

    def remove(self) -> None:
        """Let the reservation go and delete the pieces."""
        if self._place is not None:
            self._place.remove()

    def _take_over(self, fresh: bool) -> None:
        """Throw away what is of another key."""
        folder = self.place.folder
        pieces = not _is_empty(folder)
        if not fresh and self._is_of_key(folder):
            if pieces:
                log.warning("going on with an interrupted fit: what %s holds is not computed "
                            "again; --fresh begins anew", folder)  # fmt: skip
            return
        if pieces and not fresh:
            log.warning("%s is of a fit with other data, settings or versions, and is thrown away",
                        folder)  # fmt: skip
        self.place.empty()
        with replacing(folder / _KEY, "wb", sync=False) as file:
            file.write(self._fingerprint)

    def _is_of_key(self, folder: Path) -> bool:
        try:
            return (folder / _KEY).read_bytes() == self._fingerprint
        except OSError:
            return False

    def _path(self, name: str) -> Path:
        return self.place.folder / f"{name}{_PIECE}"

    def _read(self, name: str, data: bytes) -> Piece:
        stored = load(data)
        about, digest = stored.pop(_ABOUT), stored.pop(_DIGEST)
        tensors = {k.removeprefix(_OF): v for k, v in stored.items()}
        if digest.numpy().tobytes() != self._digest(name, tensors, about):
            raise ValueError("its digest is another")
        return Piece(tensors, json.loads(about.numpy().tobytes()))

    def _digest(self, name: str, tensors: dict[str, torch.Tensor], about: torch.Tensor) -> bytes:
        """SHA-256 of a piece, its name, and the key that it belongs to."""
        found = sha256_of_tensors(tensors | {"": about}, self._fingerprint + name.encode())
        return found.digest()


def _is_empty(folder: Path) -> bool:
    return not any(folder.glob(f"*{_PIECE}"))


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
