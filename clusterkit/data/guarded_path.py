"""Paths that are checked again when they are opened."""

import os
import stat
from io import BufferedReader

from clusterkit.errors import DataError, ImageError

LEADS_OUT = "a path that leads out of the data root, and is not followed (--images)"


class RefusedPathError(DataError):
    """A row of a table names a file in a way that is not followed.

    Attributes
    ----------
    reason : str
        Why, in words without the folders of this machine: they stand in a table.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class GuardedPath(str):
    """Path of a file that is not simply opened.

    Attributes
    ----------
    roots : tuple of str
        Folders, with their links resolved, one of which it has to be in when it is opened: a
        link on the way may have been changed since it was listed. Empty: anywhere.
    reason : str
        Why it is not read at all; "": it is.
    refused : bool
        For the way in which a table names it, not for its type.
    """

    roots: tuple[str, ...]
    reason: str
    refused: bool

    def __new__(
        cls, path: str, roots: tuple[str, ...] = (), reason: str = "", refused: bool = False
    ) -> "GuardedPath":
        new = super().__new__(cls, path)
        new.roots, new.reason, new.refused = roots, reason, refused
        return new


def check_opened(path: object, file: BufferedReader | None = None) -> None:
    """Check a path that may be a `GuardedPath`, before it is opened or after.

    Parameters
    ----------
    path : path
        Of any type: others than a `GuardedPath` pass.
    file : file or None
        What was opened. With it, nothing is read from elsewhere even if the link is changed
        between the check and the opening; before, that cannot be ruled out.

    Raises
    ------
    ImageError
        It is not to be read, or it is a link that leads out of its roots by now.
    """
    if not isinstance(path, GuardedPath):
        return
    if path.reason:
        raise ImageError(path.reason)
    if not path.roots:
        return
    real = os.path.realpath(path)
    try:
        same = file is None or os.path.samestat(os.fstat(file.fileno()), os.stat(real))
    except OSError:
        same = False
    if not same or not is_inside(real, path.roots):
        raise ImageError("it was a link inside the data when it was listed, and now leads out")


def open_regular(path: os.PathLike | str) -> BufferedReader:
    """Open a file to read its bytes; what is no file by now, a pipe perhaps, blocks nobody.

    Raises
    ------
    ImageError
        It is a pipe, a device or a folder.
    OSError
        As `open` does.
    """
    # Whoever opens a pipe waits for its other end, unless he says that he does not.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ImageError("not a regular file")
    return file


def open_given(path: os.PathLike | str) -> BufferedReader:
    """`open_regular` for a file that the user names.

    Raises
    ------
    DataError
        It is no file, but a pipe for example.
    OSError
        As `open` does.
    """
    try:
        return open_regular(path)
    except ImageError as error:
        raise DataError(f"{path} is no file but a pipe or the like; give a file") from error


def is_inside(real: str, roots: tuple[str, ...]) -> bool:
    """Return True where a path is one of the folders or in it; all have their links resolved."""
    return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
