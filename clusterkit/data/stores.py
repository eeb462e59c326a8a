"""Stores of files such as S3, through fsspec: which there are, attempts, and errors in words."""

import re
import time
from collections.abc import Callable
from errno import EINVAL
from typing import Any, TypeVar

from clusterkit.errors import DataError, ImageError, StoreError, shown, without_user

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
}
PREFIXES = tuple(f"{scheme}://" for scheme in _PACKAGES)

# A scheme or a chain of such, and how many slashes a Path has left of two.
ADDRESS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]+:+)+)/+")

# What may hold a password: a query, and what stands before the @ of a host of no scheme.
_QUERY, _USER = re.compile(r"\?\S*"), re.compile(r"^//[^/\s]*@")

# Attempts to read one file: no further one begins after so many seconds, for stores' packages try
# again by themselves. Pauses in seconds, each four times as long as the one before it.
_ATTEMPTS, _PATIENCE, _PAUSE = 3, 10.0, 0.3

# Seconds by the clock that one attempt may take, and bytes a second that a slow line brings.
ATTEMPT_TIME, _SLOW = 60.0, 1e6

# Seconds that a listing may take: a thousand names come at a time, in about a fifth of one.
LISTING = 3600.0

# Errors that come again. By name, of packages that need not be there.
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError,
            TypeError, ImportError, NotImplementedError)  # fmt: skip
_NO_RIGHTS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError",
              "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ClientAuthenticationError",
              "DefaultCredentialsError", "RefreshError")  # fmt: skip

# Files one after the other that a process may wait for in vain: the next would be the same.
_IN_VAIN = 5
_waited: list[str] = []

# How reasons begin of which an image is not to blame.
NOT_ANSWERED = "the store does not answer"
NOT_ALLOWED = "cannot be read: the store refuses it to these credentials"

CHANGED = "it has changed since it was listed"

# Characters of what a package says.
_LONGEST = 120


def open_store(scheme: str) -> Any:
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


def ask(store: Any, what: str, *given: Any, more: float = 0.0, **options: Any) -> Any:
    """Call one of a store's functions, for at most a minute by the clock and `more` seconds."""
    if not store.async_impl:
        return getattr(store, what)(*given, **options)
    from fsspec.asyn import sync

    # fsspec knows of a time limit here alone.
    limit = ATTEMPT_TIME + more
    return sync(store.loop, getattr(store, f"_{what}"), *given, timeout=limit, **options)


def fetch(store: Any, path: str, end: int) -> bytes:
    """Return the bytes of a file up to one."""
    more = (getattr(path, "size", None) or 0) / _SLOW
    return ask(store, "cat_file", path, start=0, end=end, more=more)


def attempt(path: str, work: Callable[[Any], _Found]) -> _Found:
    """Do something with a store, again where that may help.

    Raises
    ------
    ImageError
        Whatever it was, see `may_pass`.
    StoreError
        It has not answered for several files in a row, or the credentials have expired: it is not
        asked for the next.
    """
    try:
        store = open_store(path.partition("://")[0])
    except DataError as error:
        # On another machine than the one that has listed it.
        raise ImageError(error) from error
    pause, start = _PAUSE, time.monotonic()
    for left in reversed(range(_ATTEMPTS)):
        try:
            found = work(store)
            _waited.clear()
            return found
        except MemoryError as error:
            raise ImageError("too large for the memory") from error
        except Exception as error:
            stop_if_expired(path, error)
            late = time.monotonic() - start > _PATIENCE
            if not left or late or is_lasting(error):
                reason = _why_not_read(error)
                _count_in_vain(path, reason)
                raise ImageError(reason) from error
        time.sleep(pause)
        pause *= 4
    raise AssertionError("the last attempt returns or raises")


def _count_in_vain(path: str, reason: str) -> None:
    if not reason.startswith(NOT_ANSWERED):
        _waited.clear()
        return
    _waited.append(path)
    if len(_waited) >= _IN_VAIN:
        _waited.clear()
        raise StoreError(f"{reason}, for {_IN_VAIN} files one after the other, the last {path}; "
                         "run the command again when it does: what is done is kept")  # fmt: skip


def stop_if_expired(path: str, error: Exception) -> None:
    """Raise `StoreError` where credentials have expired: no file that follows can be read.

    Of long work with a session's credentials, all that is left would be failed rows.
    """
    if _is_refused(error) and "expired" in str(error).lower():
        raise StoreError(f"the credentials for the store have expired, at {path} "
                         f"({_words(error)}); renew them, and run the command again: what is done "
                         "is kept") from error  # fmt: skip


def may_pass(reason: str) -> bool:
    """Whether what a row failed for may be gone when its image is read again.

    >>> may_pass("the store does not answer: reset"), may_pass("empty file (0 bytes)")
    (True, False)
    """
    return reason.startswith((NOT_ANSWERED, NOT_ALLOWED))


def is_lasting(error: Exception) -> bool:
    """Whether an error comes again when the same is tried again."""
    return isinstance(error, _LASTING) or _is_refused(error) or _is_range(error)


def _is_refused(error: Exception) -> bool:
    """Whether a store knows who asks, or not, and says no; each package says it in its own way."""
    return (
        isinstance(error, PermissionError)
        or type(error).__name__ in _NO_RIGHTS
        or getattr(error, "code", None) in (401, 403)
        or str(error).startswith("Forbidden")
    )


def _is_range(error: Exception) -> bool:
    """Whether a file has become empty since it was listed."""
    return isinstance(error, OSError) and error.errno == EINVAL and "range" in str(error)


def _why_not_read(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file does not exist"
    if _is_range(error):
        return CHANGED
    if _is_refused(error):
        return NOT_ALLOWED
    return f"{NOT_ANSWERED}: {_words(error)}"


def why_failed(place: object, error: Exception, done: str = "listed") -> str:
    """Return why a folder of a store cannot be listed, or files read, and what to do, in a line."""
    if isinstance(error, FileNotFoundError):
        return f"{place} does not exist; check the names of the bucket and the folder"
    if _is_refused(error):
        return (f"{place} may not be {done} with these credentials ({_words(error)}); give others "
                "in the environment, or ask for the right to list and read it")  # fmt: skip
    return (f"{place} cannot be {done} ({_words(error)}); check the network, the address of the "
            "store and the credentials in the environment")  # fmt: skip


def without_secrets(text: str) -> str:
    """Address without what may be a password; other text as it is.

    >>> without_secrets("https://me:pw@host/a.png?sig=1"), without_secrets("what?.png")
    ('https://host/a.png', 'what?.png')
    >>> without_secrets("//me:pw@host/a.png")
    '//host/a.png'
    """
    if ADDRESS.match(text):
        return _QUERY.sub("", without_user(text))
    return _USER.sub("//", text)


def _words(error: Exception) -> str:
    """Return what a package says, on one line and without what may be a password."""
    if isinstance(error, TimeoutError) or type(error).__name__ == "FSTimeoutError":
        return "it takes too long"
    said = " ".join(str(error).split()) or type(error).__name__
    return shown(_QUERY.sub("", without_user(said)), _LONGEST)
