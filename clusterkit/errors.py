"""Errors that a user can cause, and their one line on the command line.

::

    ClusterkitError             the CLI prints "error: …" and exits with 1
    ├── ConfigError             a configuration file or option
    ├── DataError               a dataset: folder, CSV, labels, paths
    │   └── ImageError          one image; a batch turns it into a `failed` row
    ├── OutputError             a file or folder that cannot be written
    ├── RunError                a run directory
    └── WeightsError            a file of pretrained weights or a backbone's name

Every message is one line that says what is wrong, the value seen, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ClusterkitError(Exception):
    """Base of every error that a user can cause."""


class ConfigError(ClusterkitError):
    """A configuration file or option is wrong."""


class DataError(ClusterkitError):
    """A dataset cannot be used as it is."""


class ImageError(DataError):
    """One image cannot be read."""


class OutputError(ClusterkitError):
    """A file or folder cannot be written."""


class RunError(ClusterkitError):
    """A directory is not a run, or not one that this version can read."""


class WeightsError(ClusterkitError):
    """Pretrained weights do not fit, or the backbone is not known."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known name, else an empty string.

    >>> nearest_name("bacbone", ["backbone", "size"])
    " (did you mean 'backbone'?)"
    >>> nearest_name("zzz", ["backbone", "size"])
    ''
    """
    matches = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def shown(text: str, limit: int = 60) -> str:
    """Cut what a stranger wrote, so that an error stays one line and harmless to a terminal.

    >>> shown("a" * 9, limit=4), shown("a\\nb") == "a\N{REPLACEMENT CHARACTER}b"
    ('aaa…', True)
    """
    plain = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1]
    )
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
