"""Output: a path that cannot be written is one line, said before hours are spent where possible.

The one place where an `OSError` of writing becomes an error that names the path, the reason and
the option that helps.
"""

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clusterkit.errors import OutputError

_REASONS = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOENT: "its folder does not exist",
    errno.EEXIST: "a file is in the way",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links lead in a circle",
}  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)

# Errors that name no file, as those of writing to an open one, and are about the disk.
_OF_DISK = (*_FULL, errno.EROFS, errno.EIO, errno.EFBIG)

# As a Path has left it.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

# Bytes, where the system does not say.
_LONGEST_NAME = 255

# Seconds after which nobody writes a temporary file any more: a killed process left it.
ABANDONED = 3600.0


def write_reason(error: OSError) -> str:
    """Return why something could not be written, in words.

    >>> write_reason(OSError(errno.EROFS, "Read-only file system"))
    'the file system is read-only'
    """
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def writing(target: Path, option: str) -> Iterator[None]:
    """Turn an `OSError` about `target`, or what is beside it, into one line.

    Parameters
    ----------
    target : Path
        The file or folder that is written.
    option : str
        What names another, e.g. ``--out FILE.csv``.

    Raises
    ------
    OutputError
        `target` cannot be written. Errors about other files are left as they are.
    """
    try:
        yield
    except OSError as error:
        if not _is_about(error, target):
            raise
        room = "make room, or " if error.errno in _FULL else ""
        raise OutputError(
            f"cannot write {target}: {write_reason(error)}; {room}give another {option}"
        ) from error


def check_writable(target: Path | str, option: str, *, folder: bool = False) -> None:
    """Try whether a file, or a folder with what goes into it, can be written; nothing is left.

    Parameters
    ----------
    target : path
        It, and the folders that it is in, may be missing.
    option : str
        See `writing`.
    folder : bool
        `target` is a folder.

    Raises
    ------
    OutputError
        It cannot.
    """
    target = Path(target)
    if _ADDRESS.match(str(target)) and not os.path.lexists(target):
        raise OutputError(f"{target} is an address, and results are written to a folder of this "
                          f"machine; give another {option}")  # fmt: skip
    with writing(target, option):
        if not folder and target.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        if not folder and target.is_symlink() and not target.exists():
            # It is somebody's, though what it leads to is gone.
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        there = target if folder else target.parent
        missing = [] if folder else [target.name]
        while not os.path.exists(there):
            # Of a name that is too long, and of a link that leads nowhere.
            if os.path.lexists(there):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(there))
            missing.append(there.name)
            there = there.parent
        longest = _longest_name(there)
        if any(len(os.fsencode(name)) > longest for name in missing):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
        try:
            _try(there)
        except OSError as error:
            # Whichever folder above it was tried.
            raise OSError(error.errno, error.strerror, str(target)) from error


def _try(folder: Path) -> None:
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    # One that was killed between making it and taking it away left it.
    for left in folder.glob(f".clusterkit.{'[0-9a-f]' * 8}.partial"):
        with suppress(OSError):
            if left.stat().st_size <= 1 and time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    probe = folder / f".clusterkit.{secrets.token_hex(4)}.partial"
    try:
        with open(probe, "xb") as file:
            # A full disk takes a name, and no byte.
            file.write(b"\0")
    finally:
        probe.unlink(missing_ok=True)


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return _LONGEST_NAME


def _is_about(error: OSError, target: Path) -> bool:
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names:
        return error.errno in _OF_DISK
    # Temporary files lie beside their targets, and a file in the way lies above.
    place, whole = os.path.abspath(target.parent), os.path.abspath(target)
    return any(
        _inside(path, place) or _inside(whole, path)
        for path in (os.path.abspath(os.fsdecode(name)) for name in names)
    )


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
