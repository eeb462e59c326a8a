"""Processor time that one piece of work may take, where the system counts it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds of processor time for one image. Not of the clock: a slow disk is nobody's fault.
SECONDS = 30.0

# Whoever catches everything may catch the first order to stop; so it is given again.
_AGAIN = 1.0


# A step in C that is not done by then ends its process, where that is only a worker.
TIMES_IN_C = 3.0
_ends_process: list[bool] = []


class TimeUpError(BaseException):
    """Time is up. No Exception, which a reader that expects damage would pass over."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes longer than so many seconds of processor time.

    Only the main thread of a process can be stopped, on Linux and macOS, and only between two
    steps of Python: one step in a decoder in C is waited for, or ends a worker; see
    `end_process_too`. Elsewhere nothing is stopped, and
    where somebody else uses the signal (SIGVTALRM), it is left to them.

    Raises
    ------
    TimeUpError
        In what was stopped.
    """
    if not _usable():
        yield
        return
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN)
    if _ends_process:
        signal.setitimer(signal.ITIMER_PROF, TIMES_IN_C * seconds)
    try:
        yield
    finally:
        while not _disarmed():
            pass


def end_process_too() -> None:
    """Let this process, a worker, be ended where a step of its work takes three times too long."""
    _ends_process[:] = [True]


def _disarmed() -> bool:
    """Take the timer away; False: time was up in the middle of that."""
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    except TimeUpError:
        return False
    return True


def _usable() -> bool:
    if not hasattr(signal, "setitimer"):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL


def _stop(number: int, frame: FrameType | None) -> None:
    raise TimeUpError
