"""Files and folders written whole or not at all: the one place where the package does so.

A file is written under a temporary name in its own folder, brought to the disk, and renamed. The
name is nobody else's, so that two processes that write one file leave the one version or the
other, never a mixture.
"""

import glob
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from clusterkit.output import ABANDONED

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{8}\.partial")

# File systems allow 255 bytes a name; a character takes up to four.
_LONGEST_NAME = 50


@contextmanager
def replacing(
    path: Path,
    mode: str = "w",
    *,
    newline: str | None = "\n",
    errors: str | None = None,
    sync: bool = True,
    mark: bool = False,
) -> Iterator[IO[Any]]:
    """Yield a file that takes the place of `path` when the block ends without an exception.

    Parameters
    ----------
    path : Path
        Its folder exists. A link is replaced, not what it points to.
    mode : {"w", "wb"}
        Text is UTF-8.
    newline, errors : str or None
        Of text, as `open` has them.
    sync : bool
        Wait until the disk has it, so that a power failure leaves the old file or the new one.
        False for the hundreds of pictures of a page, which can be drawn again.
    mark : bool
        Begin text with a byte-order mark: a spreadsheet that finds none reads a table in the
        letters of its country, and writes ``GrÃ¶ÃŸe`` where ``Größe`` was.

    Raises
    ------
    OSError
        It cannot be written; `path` is as it was, and nothing else is left.
    """
    if sync:
        _remove_abandoned(path)
    partial = temporary_path(path)
    text = "b" not in mode
    try:
        # Not by `tempfile`, whose files only their owner may read.
        with open(
            partial,
            mode.replace("w", "x"),
            encoding=("utf-8-sig" if mark else "utf-8") if text else None,
            newline=newline if text else None,
            errors=errors,
        ) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_text(path: Path, text: str, *, errors: str | None = None, mark: bool = False) -> None:
    """Write text as UTF-8 with the line ends that it has; see `replacing`."""
    with replacing(path, newline="", errors=errors, mark=mark) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes; see `replacing`."""
    with replacing(path, "wb") as file:
        file.write(data)


def write_json(path: Path, values: Any) -> None:
    """Write JSON as UTF-8, indented by one, with a line end at its end; see `replacing`."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:
        # The name of a file on the command line may be no text; JSON has escapes for it.
        text = json.dumps(values, indent=1) + "\n"
    write_text(path, text)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes `path` when the block ends without an exception.

    Parameters
    ----------
    path : Path
        Nothing, or an empty folder; the folder that it is in exists.

    Raises
    ------
    OSError
        It cannot be written, or there is something at `path`; that is as it was, and nothing else
        is left.
    """
    partial = temporary_path(path)
    try:
        partial.mkdir()
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if os.name == "nt" and path.is_dir():
            # Windows puts no folder in the place of another, not even of an empty one.
            path.rmdir()
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def final_name(name: str) -> str:
    """Return the name that a temporary file was to get; any other name as it is.

    >>> final_name(".page.html.0a1b2c3d.partial"), final_name("page.html")
    ('page.html', 'page.html')
    """
    match = _PARTIAL.fullmatch(name)
    return match[1] if match else name


def is_abandoned(path: Path) -> bool:
    """Whether a file is a temporary one whose process was killed long ago."""
    try:
        return final_name(path.name) != path.name and _age(path) > ABANDONED
    except OSError:
        return False


def temporary_path(path: Path, digest: str = "") -> Path:
    """Return a name for what is to take the place of a file: beside it, hidden, nobody else's.

    Parameters
    ----------
    path : Path
    digest : str
        Hex digits by which the name can be found again; "": nobody can guess it.
    """
    number = digest[:8] or secrets.token_hex(4)
    return path.with_name(f".{path.name[:_LONGEST_NAME]}.{number}.partial")


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of this file: it may hold what is personal."""
    # A table is checked under a temporary name, and is written beside that under another.
    name = final_name(path.name)
    whole, cut = (glob.escape(name[:most]) for most in (_LONGEST_NAME, _LONGEST_NAME - 1))
    for pattern in (f".{whole}.*.partial", f"..{cut}*.partial"):
        for left in path.parent.glob(pattern):
            if is_abandoned(left):
                with suppress(OSError):
                    left.unlink()


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _sync(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
