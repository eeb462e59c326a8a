"""A lock that processes share, on a file or folder that more than one may write."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

# The end of the name of a lock there.
SOFT = ".host"

# What drives say that have no locks; ENOSYS is known to filelock.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same from writing a file or folder; waits for them.

    The lock is a file beside it, which is gone afterwards.
    """
    place = path.with_name(f".{path.name}.lock")
    lock = acquire(place)
    try:
        yield
    finally:
        # Whoever waits for a file that is gone makes a new one; Windows removes it by itself.
        with suppress(OSError):
            place.unlink()
        lock.release()
