"""What became of a command: its exit code, and its one line."""

import click

from clusterkit.errors import ClusterkitError, Terminated, without_user

# Exit codes of commands that were told to stop.
STOPPED = {130: "interrupted", 143: "terminated"}


def exit_code_of(error: BaseException) -> int:
    """Return 1 for an error, 2 for wrong usage, 130 for an interrupt, 143 for SIGTERM."""
    # click makes its own of what interrupts it.
    if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
        return 143
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, click.ClickException) else 1


def line_of(error: BaseException) -> str:
    """Return what is wrong, as one line."""
    if stopped := STOPPED.get(exit_code_of(error)):
        return stopped
    if isinstance(error, click.ClickException):
        said = error.format_message()
    elif isinstance(error, ClusterkitError):
        said = str(error)
    elif isinstance(error, OSError) and error.filename is not None:
        said = f"{error.filename}: {error.strerror}"
    else:
        said = f"{type(error).__name__}: {error}"
    return without_user(" ".join(said.split()))
