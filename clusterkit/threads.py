"""Threads of this process: one for each piece of work, and none that spins while it waits.

OpenMP's threads share every single product, and whoever is done first spins until the last one is.
Beside another program one of them always waits for its turn, and all others with it: from a
notebook, `fit` took three times as long as alone. What turns the spinning off is read once, when
torch is imported, and belongs to whoever imported it. So work here is divided by images.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_lock = threading.Lock()
# Of the blocks of `one_thread` that are running: how many, and what to put back after the last (0:
# nothing).
_running = 0
_before = 0
_limits: Any = None


def threads_allowed() -> int:
    """Return how many threads may compute: as many as torch has outside of `one_thread`."""
    import torch

    with _lock:
        return _before or torch.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and BLAS compute with one thread in a block; afterwards all is as it was before.

    Blocks may lie within each other, and run in several threads at once.
    """
    global _running
    with _lock:
        if not _running:
            _begin()
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                _end()


def _begin() -> None:
    global _before, _limits
    from threadpoolctl import threadpool_limits

    # Whoever has not imported torch does without: `inspect` is quicker so.
    if torch := sys.modules.get("torch"):
        _before = torch.get_num_threads()
        torch.set_num_threads(1)
    _limits = threadpool_limits(1, "blas")


def _end() -> None:
    global _before
    _limits.restore_original_limits()
    if (torch := sys.modules.get("torch")) and _before:
        torch.set_num_threads(_before)
    _before = 0


def in_parallel(work: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
    """Return `work` of each part, in order; each is done by one thread from beginning to end.

    Parameters
    ----------
    work : callable
        Must spend its time outside of Python's own lock, as torch's operations do.
    parts : iterable

    Raises
    ------
    Exception
        That of the first part that failed.
    """
    import torch

    threads, parts = threads_allowed(), list(parts)
    with one_thread():
        if threads < 2 or len(parts) < 2:
            return [work(part) for part in parts]

        def alone(_: None = None) -> None:
            torch.set_num_threads(1)

        with ThreadPoolExecutor(min(threads, len(parts)), initializer=alone) as pool:
            return list(pool.map(work, parts))
