"""What became of a command: its exit code, and its one line."""

import click

from clusterkit.errors import ClusterkitError


def exit_code_of(error: BaseException) -> int:
    """Return 1 for an error, 2 for wrong usage, 130 for an interrupt."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, click.ClickException) else 1


def line_of(error: BaseException) -> str:
    """Return what is wrong, as one line."""
    if exit_code_of(error) == 130:
        return "interrupted"
    if isinstance(error, click.ClickException):
        said = error.format_message()
    elif isinstance(error, ClusterkitError):
        said = str(error)
    elif isinstance(error, OSError) and error.filename is not None:
        said = f"{error.filename}: {error.strerror}"
    else:
        said = f"{type(error).__name__}: {error}"
    return " ".join(said.split())
