"""Start of the command line; also ``python -m clusterkit``."""

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from types import FrameType

# What a process is told to end by, the word for it, and the exit code: 128 and its number.
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM,
    by which Slurm, Airflow, Kubernetes and systemd end what they run).

    The rest of the package is imported here: whoever presses Ctrl-C meanwhile, or while Python
    tidies up at the end, interrupts nothing that would need words.
    """
    _open_closed()
    # A shell lets what it starts in the background ignore the one, and nohup's kin the other.
    default = (signal.default_int_handler, signal.SIG_DFL)
    heard = [number for number in _WORDS if signal.getsignal(number) in default]
    _listen(heard)
    from clusterkit.cli import main as run
    from clusterkit.errors import Terminated

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    if hasattr(os, "register_at_fork"):
        # A worker that is told to end has nothing to say, and nothing to tidy up.
        os.register_at_fork(after_in_child=partial(_end_silently, heard))
    try:
        for number in heard:
            signal.signal(number, stop)
        run()
    except Terminated:
        _end(signal.SIGTERM)
    except KeyboardInterrupt:
        _end(signal.SIGINT)
    finally:
        _listen(heard)


def _open_closed() -> None:
    """Give whoever was started with a closed stdin, stdout or stderr one that holds nothing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened is taken for it: the lowest free number is its own.
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


def _listen(heard: list[signal.Signals]) -> None:
    for number in heard:
        signal.signal(number, _end)


def _end_silently(heard: list[signal.Signals]) -> None:
    if signal.SIGTERM in heard:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, *_: object) -> None:
    # At once: an exception in the middle of an import may be caught there, and made another.
    os.write(2, f"{_WORDS[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
