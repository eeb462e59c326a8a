"""Images that end the process that reads them: found one by one, so that their rows fail alone.

A decoder in C that damaged bytes bring down takes its process with it, and no guard in Python
holds that.
"""

import logging
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from clusterkit.data.processes import give_way, start_method
from clusterkit.data.time_limit import SECONDS, end_process_too
from clusterkit.errors import ClusterkitError

log = logging.getLogger("clusterkit")

# What torch says of a worker that is gone.
_GONE = "exited unexpectedly"


def is_lost_worker(error: RuntimeError) -> bool:
    """Whether an error of a DataLoader says that one of its processes is gone."""
    return _GONE in str(error)


def find_deadly(read: Callable[[int], object], rows: Sequence[int]) -> dict[int, str]:
    """Reasons, by the number of its row, of the images at which a process ends.

    Parameters
    ----------
    read : callable
        Reads an image by its number; what it returns is not looked at.
    rows : sequence of int
        Of the images that were being read when a process was lost.

    Raises
    ------
    ClusterkitError
        None of them ends a process by itself: it was ended for another reason.
    """
    left, found = list(rows), dict[int, str]()
    context: Any = multiprocessing.get_context(start_method())
    while left:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(read, left, sender), daemon=True)
        process.start()
        sender.close()
        done = 0
        try:
            while done < len(left):
                receiver.recv()
                done += 1
        except EOFError:
            process.join()
            found[left[done]] = _reason(process.exitcode or 0)
        receiver.close()
        process.join()
        left = left[done + 1 :]
    if not found:
        raise ClusterkitError(
            "a process that reads images was ended from outside, most likely for want of memory; "
            "the same command goes on where it was, with fewer processes if assign.workers says so"
        )
    log.warning("%d images end the process that reads them, and fail", len(found))
    return found


def _read_all(read: Callable[[int], object], rows: Sequence[int], sender: Connection) -> None:
    give_way()
    end_process_too()
    for row in rows:
        read(row)
        sender.send(row)


def _reason(code: int) -> str:
    if code == -getattr(signal, "SIGPROF", 0):
        return f"takes more than {SECONDS:.0f} s of processor time to read"
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return f"ends the process that reads it ({how}): damaged, or too large for the memory"
