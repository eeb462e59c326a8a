"""Locks that processes share, on files and folders that more than one may write."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from clusterkit.errors import OutputError, RunError

# The file in a folder that is locked, and the end of its name on a drive that has no locks.
LOCK, SOFT = "lock", ".host"

# Names of others' that come and go in such a folder: a network drive's for a file that is deleted
# while open, and filelock's for finding out whether the drive has locks.
PROBE = ".filelock-probe-"
_PASSING = (".nfs", PROBE)

# What a lock holds: nothing, or the number of a process and what else is known of it.
_HOLDER = re.compile(rb"\Z|[0-9]+\n")

# What drives say that have no locks; ENOSYS is known to filelock.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)

# Seconds that a folder is waited for: a process that is done may be removing it just now.
_PATIENCE = 0.2

# How often what is in it is looked at meanwhile, where something does not belong there.
_LOOKS = 5


def acquire(path: Path, timeout: float = -1.0, poll: float = 0.05) -> BaseFileLock:
    """Return the lock on a file, held until it is released or this process ends.

    A network drive may have no locks. Then a file beside it is the lock: it names the host and the
    process, and is nobody's once that process is gone.

    Parameters
    ----------
    path : Path
    timeout : float
        Seconds that others are waited for; -1: as long as it takes.
    poll : float
        Seconds between two tries.

    Raises
    ------
    Timeout
        Another process holds it.
    OSError
        It cannot be written.
    """
    lock: BaseFileLock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=timeout, poll_interval=poll)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        # A file of its own: that of the first try, which is empty, is nobody's lock.
        lock = SoftFileLock(path.with_name(path.name + SOFT), thread_local=False)
        lock.acquire(timeout=timeout, poll_interval=poll)
    return lock


def lock_folder(
    folder: Path, owns: Callable[[Path], bool], command: str, option: str
) -> BaseFileLock | None:
    """Make a folder, and return the lock on a file in it; None: another process holds it.

    Parameters
    ----------
    folder : Path
    owns : callable
        Whether a file in it, beside those of the lock, is the command's.
    command, option : str
        Whose folder it is, and what names another place.

    Raises
    ------
    RunError
        Something else is in its place or in it: the folder will be emptied.
    OSError
        It cannot be written.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            if not os.path.lexists(folder):
                # It was there, and whoever was done with it has just taken it away.
                continue
            raise RunError(f"{folder} is in the way; move it, or give another {option}") from error
        _check_own(folder, owns, command, option)
        try:
            return acquire(folder / LOCK, _PATIENCE, _PATIENCE / 4)
        except (FileNotFoundError, FileExistsError):
            # Another process was done and took the folder away just now.
            continue
        except Timeout:
            return None


def remove_folder(folder: Path, lock: BaseFileLock, empty: Callable[[], None]) -> None:
    """Empty and delete a folder of `lock_folder`, and let its lock go.

    Parameters
    ----------
    folder : Path
    lock : BaseFileLock
        On it.
    empty : callable
        Deletes what the command has in it.
    """
    # The lock last: whoever finds none takes over.
    try:
        with suppress(OSError):
            empty()
            (folder / LOCK).unlink()
    finally:
        lock.release()
    with suppress(OSError):
        folder.rmdir()


def is_passing(name: str) -> bool:
    """Whether a file of that name comes and goes by itself."""
    return name.startswith(_PASSING)


def _check_own(folder: Path, owns: Callable[[Path], bool], command: str, option: str) -> None:
    # A process may be making or removing its files just now: what is foreign stays so.
    foreign = _foreign(folder, owns)
    for _ in range(_LOOKS - 1):
        if not foreign:
            return
        time.sleep(_PATIENCE / _LOOKS)
        foreign &= _foreign(folder, owns)
    if foreign:
        raise RunError(f"{min(foreign)} is no file of an interrupted {command}, and its folder "
                       f"would be emptied; move it, or give another {option}")  # fmt: skip


def _foreign(folder: Path, owns: Callable[[Path], bool]) -> set[Path]:
    """Return what is not the command's: nothing but the folder where that is a link."""
    # A link would lead to a file of somebody who has nothing to do with it.
    if folder.is_symlink():
        return {folder}
    found = set()
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                plain = path.is_file() and not path.is_symlink()
                if not is_passing(path.name) and not (plain and (_is_lock(path) or owns(path))):
                    found.add(path)
    return found


def _is_lock(path: Path) -> bool:
    """Whether a file is a lock: empty, or it names the process that holds it."""
    return path.name in (LOCK, LOCK + SOFT) and _HOLDER.match(path.read_bytes()[:200]) is not None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same from writing a file or folder; waits for them.

    The lock is a file beside it, which is gone afterwards.

    Raises
    ------
    OutputError
        A link is in its place: locking would empty what it leads to.
    """
    place = path.with_name(f".{path.name}.lock")
    if place.is_symlink():
        raise OutputError(f"{place} is a link, and no lock of clusterkit's; remove it")
    lock = acquire(place)
    try:
        yield
    finally:
        # Whoever waits for a file that is gone makes a new one; Windows removes it by itself.
        with suppress(OSError):
            place.unlink()
        lock.release()
