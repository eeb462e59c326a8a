"""Files in a store such as S3: named by a URL, listed once, and read whole through fsspec.

A store is not a disk: each question is a request over a network. So what a listing knows of a file,
its size and version, stays with its path, and nobody asks for it again.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard, TypeVar
from urllib.parse import unquote

from clusterkit.errors import DataError, ImageError, shown

_Found = TypeVar("_Found")

# Schemes of URLs that are read: the package that each needs, and the extra that brings it. Others
# are not: some run commands or unpack archives, and a web server has no listing to go by.
_PACKAGES: dict[str, tuple[str, str]] = {
    "memory": ("", ""),
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "gcs": ("gcsfs", "gs"),
    "az": ("adlfs", "az"),
    "abfs": ("adlfs", "az"),
    "abfss": ("adlfs", "az"),
}
_PREFIXES = tuple(f"{scheme}://" for scheme in _PACKAGES)

# A scheme or a chain of such, and how many slashes a Path has left of two.
_ADDRESS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]+:+)+)/+")

# What may hold a password: a query, and what stands before the @ of a host.
_QUERY, _USER = re.compile(r"\?\S*"), re.compile(r"(?<=://)[^/\s]*@")

# What stores call the version of a file, the most telling first.
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "updated",
             "mtime", "created")  # fmt: skip

# Bytes that tell what a file is.
HEAD = 132

# Files of which the first bytes are asked for together.
_TOGETHER = 2000

# Attempts to read one file: no further one begins after so many seconds, for stores' packages try
# again by themselves. Pauses in seconds, each four times as long as the one before it.
_ATTEMPTS, _PATIENCE, _PAUSE = 3, 10.0, 0.3

# Seconds by the clock that one attempt may take, and bytes a second that a slow line brings.
_SECONDS, _SLOW = 60.0, 1e6

# Errors that come again. By name, of packages that need not be there.
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError,
            TypeError, ImportError, NotImplementedError)  # fmt: skip
_NO_RIGHTS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError",
              "ClientAuthenticationError", "DefaultCredentialsError", "RefreshError")  # fmt: skip

# How a reason begins that may be gone tomorrow.
NOT_ANSWERED = "the store does not answer"

_LONGEST = 120


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


class RemoteLocation:
    """Folder of a store, or one file in it, in the place of a `Path`.

    Parameters
    ----------
    url : str
        As `place_of` checks it.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteLocation) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def scheme(self) -> str:
        """What stands before ``://``."""
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return os.path.splitext(self.name)[0]

    @property
    def parent(self) -> "RemoteLocation":
        """The folder that it is in."""
        scheme, _, rest = self.url.partition("://")
        return RemoteLocation(f"{scheme}://{rest.rpartition('/')[0]}")

    @cached_property
    def _is_object(self) -> bool:
        return bool(_filesystem(self.scheme).isfile(self.url))

    def is_file(self) -> bool:
        """Whether it is one file; asked once."""
        return self._is_object

    def file(self, name: str, size: int | None = None, version: str = "") -> RemotePath:
        """URL of a file below it."""
        return RemotePath(f"{self.url}/{name}", size, version)

    def list_files(self) -> Iterator[RemotePath]:
        """Yield all files below it, or itself where it is one; one listing.

        Raises
        ------
        DataError
            It cannot be listed: one line says why.
        """
        store = _filesystem(self.scheme)
        try:
            found = store.find(self.url, detail=True)
        except Exception as error:
            raise DataError(_why_not_listed(self, error)) from error
        start = len(store._strip_protocol(self.url).rstrip("/")) + 1
        # A million descriptions are a gigabyte: each goes as it is taken.
        while found:
            key, about = found.popitem()
            if about.get("type") != "directory":
                yield RemotePath(self.url + "/" * (len(key) >= start) + key[start:],
                                 _size_of(about), _version_of(about))  # fmt: skip


# A folder or a file of this machine, or of a store.
Place = Path | RemoteLocation


def is_remote(path: object) -> TypeGuard[str]:
    """Whether a path is the URL of a file in a store.

    >>> is_remote("s3://bucket/a.png"), is_remote("/data/a.png"), is_remote("https://a/b.png")
    (True, False, False)
    """
    return isinstance(path, str) and path.startswith(_PREFIXES)


def place_of(source: Place | str) -> Place:
    """What a person has named: a path of this machine, or a place in a store.

    Raises
    ------
    DataError
        It is an address that is not read, names no bucket, or holds what may be a password, which
        the message does not show.
    """
    if isinstance(source, RemoteLocation):
        return source
    text = os.fspath(source)
    address = _ADDRESS.match(text)
    if address is None or ("://" not in text and os.path.lexists(text)):
        return Path(source)
    scheme, rest = address[1][:-1].lower(), text[address.end() :].rstrip("/")
    if scheme == "file":
        path = "/" + re.sub("^localhost/", "", rest)
        return Path(path if os.path.lexists(path) else unquote(path))
    if scheme not in _PACKAGES:
        raise DataError(f"{shown(address[1], 40)}// is no kind of address that is read; give a "
                        f"folder, or one of {', '.join(sorted(_PREFIXES))}")  # fmt: skip
    bucket = rest.partition("/")[0]
    if "?" in rest or "@" in bucket:
        raise DataError(f"an address of {scheme}:// holds a user, a password or a query (? or @); "
                        "leave it out, and give accounts and credentials in the environment")  # fmt: skip
    if not bucket and scheme != "memory":
        raise DataError(f"{scheme}:// names no bucket; give {scheme}://BUCKET/FOLDER")
    if any(part in (".", "..") for part in rest.split("/")):
        raise DataError(f"{scheme}://{shown(rest, 200)} has . or .. for a folder; give the path "
                        "without")  # fmt: skip
    return RemoteLocation(f"{scheme}://{rest}")


def local_place(source: Place | str, what: str) -> Path:
    """Path of this machine that a person has named.

    Parameters
    ----------
    what : str
        Who reads it, for the message: a subject with its verb.

    Raises
    ------
    DataError
        It is an address.
    """
    place = place_of(source)
    if isinstance(place, RemoteLocation):
        raise DataError(f"{what} from a folder of this machine, not from {place}; copy it here "
                        "first")  # fmt: skip
    return place


def without_secrets(text: str) -> str:
    """Address without what may be a password; other text as it is.

    >>> without_secrets("https://me:pw@host/a.png?sig=1"), without_secrets("what?.png")
    ('https://host/a.png', 'what?.png')
    """
    return _QUERY.sub("", _USER.sub("", text)) if _ADDRESS.match(text) else text


def state_of(path: Path | str) -> tuple[int | None, int | str] | None:
    """What changes when a file does: its size, and its time in nanoseconds or its version.

    Of a file in a store it is what its listing knew; nothing is asked for. None: not known.
    """
    if isinstance(path, RemotePath):
        return path.size, path.version
    if is_remote(path):
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def read_remote(path: str, limit: int) -> bytes:
    """Bytes of a whole file in a store; see `state_of` for its size.

    Raises
    ------
    ImageError
        It is larger than `limit`, known before it is loaded; it is gone, may not be read, has
        changed since it was listed, or the store does not answer.
    """
    size = getattr(path, "size", None)
    if size is None:
        size = _attempt(path, lambda store: store.info(path)["size"])
    if size is not None and size > limit:
        raise ImageError(f"larger than {limit:,} bytes")
    if size == 0:
        return b""
    expected = limit if size is None else size
    data = _attempt(path, lambda store: _fetch(store, path, expected + 1))
    if size is not None and len(data) != size:
        raise ImageError("it has changed since it was listed")
    if len(data) > limit:
        raise ImageError(f"larger than {limit:,} bytes")
    return data


def read_heads(paths: Sequence[str], told: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield the first `HEAD` bytes of files of one store, many at a time; b"" where there are none.

    Parameters
    ----------
    paths : sequence of str
        URLs of one scheme.
    told : callable or None
        Called with the number of files that are done.
    """
    for start in range(0, len(paths), _TOGETHER):
        some = paths[start : start + _TOGETHER]
        asked = [path for path in some if getattr(path, "size", None) != 0]
        found = dict(zip(asked, _heads(asked), strict=True))
        yield from (found.get(path, b"") for path in some)
        if told:
            told(start + len(some))


def _heads(paths: list[str]) -> list[bytes]:
    if not paths:
        return []
    store = _filesystem(paths[0].partition("://")[0])
    ends = [HEAD] * len(paths)
    heads = []
    found = store.cat_ranges(list(map(str, paths)), [0] * len(paths), ends, on_error="return")
    for path, head in zip(paths, found, strict=True):
        if isinstance(head, Exception):
            try:
                head = b"" if _is_lasting(head) else _attempt(path, _head_reader(path))
            except ImageError:
                # Its reason comes with its pixels.
                head = b""
        heads.append(bytes(head))
    return heads


def _head_reader(path: str) -> Callable[[Any], bytes]:
    return lambda store: _fetch(store, path, HEAD)


def _filesystem(scheme: str) -> Any:
    """Return fsspec's object for a scheme; asked for anew by each process, as a fork needs it."""
    import fsspec

    package, extra = _PACKAGES[scheme]
    try:
        # A listing that is kept would be an old one.
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        raise DataError(f"{scheme}:// needs the package {package}: "
                        f"pip install 'clusterkit[{extra}]'") from None  # fmt: skip
    except Exception as error:
        raise DataError(f"{scheme}:// cannot be used: {_words(error)}; check the credentials and "
                        "settings in the environment") from error  # fmt: skip


def _fetch(store: Any, path: str, end: int) -> bytes:
    """Return the bytes of a file up to one, in a time that goes by the clock."""
    if not store.async_impl:
        return store.cat_file(path, start=0, end=end)
    from fsspec.asyn import sync

    known = getattr(path, "size", None) or 0
    return sync(store.loop, store._cat_file, path, start=0, end=end,
                timeout=_SECONDS + known / _SLOW)  # fmt: skip


def _attempt(path: str, work: Callable[[Any], _Found]) -> _Found:
    """Do something with a store, again where that may help; an error is an `ImageError`."""
    store, pause, start = _filesystem(path.partition("://")[0]), _PAUSE, time.monotonic()
    for left in reversed(range(_ATTEMPTS)):
        try:
            return work(store)
        except MemoryError as error:
            raise ImageError("too large for the memory") from error
        except Exception as error:
            late = time.monotonic() - start > _PATIENCE
            if not left or late or _is_lasting(error):
                raise ImageError(_why_not_read(error)) from error
        time.sleep(pause)
        pause *= 4
    raise AssertionError("the last attempt returns or raises")


def _is_lasting(error: Exception) -> bool:
    return isinstance(error, _LASTING) or type(error).__name__ in _NO_RIGHTS


def _why_not_read(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file does not exist"
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_RIGHTS:
        return "cannot be read: the store refuses it to these credentials"
    if isinstance(error, TimeoutError) or type(error).__name__ == "FSTimeoutError":
        return f"{NOT_ANSWERED}: it takes too long"
    return f"{NOT_ANSWERED}: {_words(error)}"


def _why_not_listed(place: RemoteLocation, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{place} does not exist; check the names of the bucket and the folder"
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_RIGHTS:
        return (f"{place} may not be listed with these credentials ({_words(error)}); give others "
                "in the environment, or ask for the right to list and read it")  # fmt: skip
    return (f"{place} cannot be listed ({_words(error)}); check the network, the address of the "
            "store and the credentials in the environment")  # fmt: skip


def _words(error: Exception) -> str:
    """Return what a package says, on one line and without what may be a password."""
    said = " ".join(str(error).split()) or type(error).__name__
    return shown(_QUERY.sub("", _USER.sub("", said)), _LONGEST)


def _size_of(about: dict[str, Any]) -> int | None:
    size = about.get("size")
    return int(size) if isinstance(size, int | float) else None


def _version_of(about: dict[str, Any]) -> str:
    return next((str(about[name]) for name in _VERSIONS if about.get(name)), "")
