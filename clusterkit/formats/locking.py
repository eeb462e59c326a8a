"""A lock that processes share, on a file or folder that more than one may write."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same from writing a file or folder; waits for them.

    The lock is a file beside it, which is gone afterwards.
    """
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock, thread_local=False):
        try:
            yield
        finally:
            # Whoever waits for a file that is gone makes a new one; Windows removes it by itself.
            with suppress(OSError):
                lock.unlink()
