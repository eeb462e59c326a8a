"""A disk that fails at a chosen call: what `benchmarks.faults` puts under one process."""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What is wrong at a call: the disk is full, at once and from then on; it errs once; or the
# process is killed.
FAULTS = ("ENOSPC", "EIO", "kill")

_WRITES = set("wxa+")
_GROWS = ("open", "write", "fsync", "mkdir")
_PATHS = ("mkdir", "unlink", "remove", "rmdir", "rename", "replace")


class FaultyDisk:
    """Counts the calls that change a folder, and fails at one of them.

    Parameters
    ----------
    folder : Path
        Calls about anything outside are neither counted nor failed.
    at : int
        The call that fails, from 1; 0: none.
    fault : str
        One of `FAULTS`. A full disk stays full: it takes no further byte, folder or file, but
        deletes and renames.

    Attributes
    ----------
    log : list of str
        The calls so far, e.g. ``replace run.json``.
    """

    def __init__(self, folder: Path, at: int = 0, fault: str = "EIO") -> None:
        self.folder, self.at, self.fault = os.path.realpath(folder), at, fault
        self.log: list[str] = []
        self._open: set[int] = set()

    def install(self) -> None:
        """Put this disk under the process, for good."""
        for name in _PATHS:
            setattr(os, name, self._on_path(name, getattr(os, name)))
        builtins.open = io.open = self._opened(builtins.open)
        os.open = self._opened_low(os.open)
        os.write = self._on_handle("write", os.write)
        os.fsync = self._on_handle("fsync", os.fsync)
        from clusterkit.formats import run

        run.save_file = self._saved(run.save_file)

    def hit(self, call: str, path: str) -> None:
        """Count a call, and fail if it is the one."""
        self.log.append(f"{call} {os.path.basename(path)}")
        number = len(self.log)
        fails = number == self.at
        if self.fault == "ENOSPC":
            # To delete takes no room.
            fails = number >= self.at > 0 and call in _GROWS
            fails = fails or (number == self.at and call in ("rename", "replace"))
        if fails:
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number), path or None)

    def _is_inside(self, path: Any, folder: int | None = None) -> str:
        """Return the whole path of what is in the folder, else an empty string."""
        if isinstance(path, int):
            return ""
        text = os.fsdecode(path)
        if folder is not None:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        whole = os.path.abspath(text)
        return whole if whole.startswith(self.folder + os.sep) else ""

    def _on_path(self, name: str, real: Callable) -> Callable:
        def call(path, *args, **options):
            target = args[0] if name in ("rename", "replace") else path
            if inside := self._is_inside(target, options.get("dir_fd")):
                self.hit(name, inside)
            return real(path, *args, **options)

        return call

    def _on_handle(self, name: str, real: Callable) -> Callable:
        def call(handle, *args):
            number = handle if isinstance(handle, int) else handle.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            if inside := self._is_inside(path):
                # As the system does: such an error names no file.
                try:
                    self.hit(name, inside)
                except OSError as error:
                    raise OSError(error.errno, error.strerror) from None
            return real(handle, *args)

        return call

    def _opened(self, real: Callable) -> Callable:
        disk = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int | None:
                try:
                    disk.hit("write", os.fsdecode(self.name))
                except OSError as error:
                    # Half of it was written when the disk was full.
                    super().write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
                    raise OSError(error.errno, error.strerror) from None
                return super().write(data)

        def call(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None,
                 closefd=True, opener=None):  # fmt: skip
            inside = self._is_inside(path)
            if not inside or not _WRITES & set(mode):
                return real(path, mode, buffering, encoding, errors, newline, closefd, opener)
            self.hit("open", inside)
            raw = Raw(path, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return whole
            text = io.TextIOWrapper(whole, encoding, errors, newline, buffering == 1)
            text.mode = mode
            return text

        return call

    def _opened_low(self, real: Callable) -> Callable:
        def call(path, flags, *args, **options):
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and (inside := self._is_inside(path, options.get("dir_fd"))):
                self.hit("open", inside)
            return real(path, flags, *args, **options)

        return call

    def _saved(self, real: Callable) -> Callable:
        """safetensors writes by itself, and has an error of its own."""
        from safetensors import SafetensorError

        def call(tensors, path, *args, **options):
            for name in ("open", "write"):
                try:
                    self.hit(name, os.fspath(path))
                except OSError as error:
                    if name == "write":
                        Path(path).write_bytes(b"half")
                    raise SafetensorError(
                        f"Error while serializing: I/O error: {error.strerror} "
                        f"(os error {error.errno})"
                    ) from None
            return real(tensors, path, *args, **options)

        return call
