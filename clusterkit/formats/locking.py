"""A lock that processes share, on a file or folder that more than one may write."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from clusterkit.errors import OutputError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same from writing a file or folder; waits for them.

    The lock is a file beside it, which is gone afterwards.

    Raises
    ------
    OutputError
        A link is in its place: locking would empty what it leads to.
    """
    lock = path.with_name(f".{path.name}.lock")
    if lock.is_symlink():
        raise OutputError(f"{lock} is a link, and no lock of clusterkit's; remove it")
    with FileLock(lock, thread_local=False):
        try:
            yield
        finally:
            # Whoever waits for a file that is gone makes a new one; Windows removes it by itself.
            with suppress(OSError):
                lock.unlink()
