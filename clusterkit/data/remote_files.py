"""Files in a store, each by its URL: read whole, and never asked for what their listing knew.

A store is not a disk: each question is a request over a network. So what a listing knows of a file,
its size and version, stays with its path.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeGuard

from clusterkit.data.stores import (
    CHANGED,
    NOT_ANSWERED,
    PREFIXES,
    ask,
    attempt,
    fetch,
    is_lasting,
    open_store,
    stop_if_expired,
    why_failed,
)
from clusterkit.errors import DataError, ImageError

# Bytes that tell what a file is.
HEAD = 132

# Files of which the first bytes are asked for together, and seconds that each may take of a minute
# and more.
_TOGETHER, _EACH = 2000, 0.1


class RemotePath(str):
    """URL of a file, with what its listing knew: nobody asks the store for that again.

    Without, as the bare text of it, it is read likewise.

    Attributes
    ----------
    size : int or None
        Bytes; None: not known.
    version : str
        What changes when the file does: its ETag, generation or time; "": not known.
    """

    __slots__ = ("size", "version")
    size: int | None
    version: str

    def __new__(cls, url: str, size: int | None = None, version: str = "") -> "RemotePath":
        new = super().__new__(cls, url)
        new.size, new.version = size, version
        return new


def is_remote(path: object) -> TypeGuard[str]:
    """Whether a path is the URL of a file in a store.

    >>> is_remote("s3://bucket/a.png"), is_remote("/data/a.png"), is_remote("https://a/b.png")
    (True, False, False)
    """
    return isinstance(path, str) and path.startswith(PREFIXES)


def may_be_there(path: str) -> bool:
    """Whether a file is there; of one in a store, that is seen when it is read."""
    return is_remote(path) or os.path.lexists(path)


def read_remote(path: str, limit: int) -> bytes:
    """Bytes of a whole file in a store.

    Raises
    ------
    ImageError
        It is larger than `limit`, known before it is loaded; it is gone, may not be read, has
        changed since it was listed, or the store does not answer.
    """
    size = getattr(path, "size", None)
    if size is None:
        size = attempt(path, lambda store: ask(store, "info", path)["size"])
    if size is not None and size > limit:
        raise ImageError(f"larger than {limit:,} bytes")
    if size == 0:
        return b""
    expected = limit if size is None else size
    data = attempt(path, lambda store: fetch(store, path, expected + 1))
    if size is not None and len(data) != size:
        raise ImageError(CHANGED)
    if len(data) > limit:
        raise ImageError(f"larger than {limit:,} bytes")
    return data


def read_heads(
    paths: Sequence[str], told: Callable[[int], None] | None = None
) -> Iterator[bytes | None]:
    """Yield the first `HEAD` bytes of files of one store, many at a time; None of what is not read.

    Parameters
    ----------
    paths : sequence of str
        URLs of one scheme.
    told : callable or None
        Called with the number of files that are done.

    Raises
    ------
    DataError
        The store does not answer. What is gone or refused is None: its reason comes with its
        pixels.
    StoreError
        The credentials have expired.
    """
    for start in range(0, len(paths), _TOGETHER):
        some = paths[start : start + _TOGETHER]
        asked = [path for path in some if getattr(path, "size", None) != 0]
        found = dict(zip(asked, _heads(asked), strict=True))
        yield from (found.get(path, b"") for path in some)
        if told:
            told(start + len(some))


def _heads(paths: list[str]) -> list[bytes | None]:
    if not paths:
        return []
    store, count = open_store(paths[0].partition("://")[0]), len(paths)
    try:
        found = ask(store, "cat_ranges", list(map(str, paths)), [0] * count, [HEAD] * count,
                    on_error="return", more=count * _EACH)  # fmt: skip
    except Exception as error:
        raise DataError(why_failed(paths[0], error, "read")) from error
    return [_read_again(path, head) if isinstance(head, Exception) else bytes(head)
            for path, head in zip(paths, found, strict=True)]  # fmt: skip


def _read_again(path: str, error: Exception) -> bytes | None:
    stop_if_expired(path, error)
    return None if is_lasting(error) else or_none(path, _head_of)


def or_none(path: str, read: Callable[[str], bytes]) -> bytes | None:
    """Bytes that are read of a file in a store; None where it is gone, refused or too large.

    Raises
    ------
    DataError
        The store does not answer: what these bytes decide is not known, and would be missed later.
    """
    try:
        return read(path)
    except ImageError as error:
        if not str(error).startswith(NOT_ANSWERED):
            return None
        raise DataError(f"{path}: {error}; run the command again") from error


def _head_of(path: str) -> bytes:
    return attempt(path, lambda store: fetch(store, path, HEAD))
