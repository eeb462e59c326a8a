"""Start of the command line; also ``python -m clusterkit``."""

import os
import signal


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.

    The rest of the package is imported here: whoever presses Ctrl-C meanwhile, or while Python
    tidies up at the end, interrupts nothing that would need words.
    """
    # A shell lets what it starts in the background ignore it.
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, _end)
    from clusterkit.cli import main as run

    try:
        if listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _end()
    finally:
        if listens:
            signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    # At once: an exception in the middle of an import may be caught there, and made another.
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
