"""Places in stores, in the place of a `Path`: what a person names, checked and listed."""

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from clusterkit.data.remote_files import RemotePath
from clusterkit.data.stores import ADDRESS, LISTING, PREFIXES, ask, open_store, why_failed
from clusterkit.errors import DataError, shown

# What stores call the version of a file, the most telling first.
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "updated",
             "mtime", "created")  # fmt: skip

_HOLDS_PASSWORD = (
    "an address of {}:// holds a user, a password or a query (@ or ?); leave it out: the "
    "environment names accounts and passwords"
)


class RemoteLocation:
    """Folder of a store, or one file in it, in the place of a `Path`.

    Parameters
    ----------
    url : str
        As `place_of` checks it.
    is_folder : bool
        It was written with a slash at its end: a store may have a file of the same name.
    """

    def __init__(self, url: str, is_folder: bool = False) -> None:
        self.url, self.is_folder = url, is_folder

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
    def _object(self) -> RemotePath | None:
        if self.is_folder:
            return None
        try:
            about = ask(open_store(self.scheme), "info", self.url)
        except (FileNotFoundError, PermissionError):
            # Whether it is a folder, and may be listed, is seen when it is.
            return None
        except DataError:
            raise
        except Exception as error:
            raise DataError(why_failed(self, error)) from error
        is_file = about["type"] == "file"
        return RemotePath(self.url, _size_of(about), _version_of(about)) if is_file else None

    def is_file(self) -> bool:
        """Whether it is one file; asked once."""
        return self._object is not None

    def as_files(self) -> list[RemotePath]:
        """Return itself, where it is one file."""
        return [self._object] if self._object is not None else []

    def file(self, name: str, size: int | None = None, version: str = "") -> RemotePath:
        """URL of a file below it."""
        return RemotePath(f"{self.url}/{name}", size, version)

    def list_files(self) -> Iterator[RemotePath]:
        """Yield all files below it, by one listing.

        Raises
        ------
        DataError
            It cannot be listed: one line says why.
        """
        store = open_store(self.scheme)
        try:
            found = ask(store, "find", self.url, detail=True, more=LISTING)
        except Exception as error:
            raise DataError(why_failed(self, error)) from error
        root = store._strip_protocol(self.url).rstrip("/")
        # A million descriptions are a gigabyte: each goes as it is taken.
        while found:
            key, about = found.popitem()
            below = key.removeprefix(root)
            # Not what merely begins likewise: folder-2 beside folder.
            if about.get("type") != "directory" and below[:1] in ("", "/"):
                yield RemotePath(self.url + below, _size_of(about), _version_of(about))


# A folder or a file of this machine, or of a store.
Place = Path | RemoteLocation


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
    address = ADDRESS.match(text)
    if address is None or ("://" not in text and os.path.lexists(text)):
        return Path(source)
    scheme, rest = address[1][:-1].lower(), text[address.end() :].rstrip("/")
    if scheme == "file":
        if "@" in text.partition("://")[2].partition("/")[0]:
            raise DataError(_HOLDS_PASSWORD.format(scheme))
        path = "/" + re.sub("^localhost/", "", rest)
        return Path(path if os.path.lexists(path) else unquote(path))
    if f"{scheme}://" not in PREFIXES:
        raise DataError(f"{shown(address[1], 40)}// is no kind of address that is read; give a "
                        f"folder, or one of {', '.join(sorted(PREFIXES))}")  # fmt: skip
    bucket = rest.partition("/")[0]
    if "?" in rest or "@" in bucket:
        raise DataError(_HOLDS_PASSWORD.format(scheme))
    if not bucket and scheme != "memory":
        raise DataError(f"{scheme}:// names no bucket; give {scheme}://BUCKET/FOLDER")
    if any(part in (".", "..") for part in rest.split("/")):
        raise DataError(f"{scheme}://{shown(rest, 200)} has . or .. for a folder; give the path "
                        "without")  # fmt: skip
    return RemoteLocation(f"{scheme}://{rest}", text.endswith("/"))


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


def _size_of(about: dict[str, Any]) -> int | None:
    size = about.get("size")
    return int(size) if isinstance(size, int | float) else None


def _version_of(about: dict[str, Any]) -> str:
    return next((str(about[name]) for name in _VERSIONS if about.get(name)), "")
