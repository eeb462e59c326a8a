"""Worker processes: how many, how they are started, and how they give way to the main one."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from clusterkit.limits import usable_processors

_Item = TypeVar("_Item")

# The main process leads: a worker that takes its turn away from a forward pass stops all of that
# pass's threads, and what is read ahead fills the gaps.
_NICE = 10

# Whose handler torch sets for the ends of workers.
_OF_TORCH = "torch.utils.data._utils.signal_handling"

# Where Linux keeps shared memory; other systems have no such folder.
SHARED_MEMORY = Path("/dev/shm")


def reading_processes(requested: int | None = None) -> int:
    """Return how many processes read images: as requested, else one per processor, at most 8.

    Of processors those count that this process may use: in a container they may be few of many.
    """
    return min(usable_processors(), 8) if requested is None else requested


def shared_memory_room() -> int | None:
    """Return how many bytes of shared memory are free; None: the system does not say.

    A container often has little; Docker gives 64 MB.
    """
    try:
        return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    except OSError:
        return None


def start_method() -> str:
    """Return how processes are started: ``fork`` on Linux unless ``spawn`` was chosen, else that.

    Forked processes begin at once and share what is loaded, and a script needs no
    ``if __name__ == "__main__"``; macOS has fork too, but its libraries may hang after one.
    """
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if sys.platform == "linux" and chosen != "spawn" else "spawn"


def give_way() -> None:
    """Lower this process's priority, where the system knows of that (Windows does not)."""
    if hasattr(os, "nice"):
        os.nice(_NICE)


def started(loader: Iterable[_Item]) -> Iterator[_Item]:
    """Return the iterator of a DataLoader, whose workers begin at once.

    What torch raises when a worker is gone, wherever this process is just then, is taken away: in
    the middle of a file that is written, that would be no help, and whoever waits for the worker's
    next batch is told all the same. A handler that the host has for its children stays.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() != threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    found = iter(loader)
    of_torch = getattr(before, "__module__", "") == _OF_TORCH
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None or of_torch else before)
    return found


def drawn(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """Yield what the iterator of a DataLoader gives, and end its processes when nobody wants more.

    Left to itself it ends them when it is forgotten, and an exception remembers it: in a notebook
    processes went on after an interrupt until the next error.
    """
    try:
        yield from items
    finally:
        # torch's own way waits until each has read its images; what it says of one that was
        # ended is no error here.
        with suppress(RuntimeError):
            for worker in getattr(items, "_workers", ()):
                worker.terminate()
        with suppress(RuntimeError):
            getattr(items, "_shutdown_workers", bool)()
