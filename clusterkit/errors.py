"""Errors that a user can cause, and their one line on the command line.

::

    ClusterkitError             the CLI prints "error: …" and exits with 1
    ├── ConfigError             a configuration file or option
    ├── DataError               a dataset: folder, CSV, labels, paths
    │   └── ImageError          one image; a batch turns it into a `failed` row
    ├── OutputError             a file or folder that cannot be written
    ├── OthersError             said by another process of the same fit: nothing is printed
    ├── RunError                a run directory
    │   └── RankError           a process of a fit of several
    ├── StoreError              a store (S3, …) that has stopped to answer
    └── WeightsError            a file of pretrained weights or a backbone's name

Every message is one line that says what is wrong, the value seen, and what to do.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

# What would begin a line, order a terminal about, or turn the direction of writing round.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

# A user and a password in an address, or in a host of no scheme. A path has left one slash of two.
_USER = re.compile(r"""((?<=[A-Za-z0-9+.-]{2}:)/{1,2}|(?<![^\s'"(=])//)[^/\s]*@""")

# Characters of a message: what it quotes may be a stranger's, and long.
_LONGEST, _END = 1000, 300


class ClusterkitError(Exception):
    """Base of every error that a user can cause.

    Its message is one line of at most 1000 characters, whatever it quotes; of a longer one the
    middle is left out, as its end says what to do. Passwords in addresses are left out too.

    >>> str(ClusterkitError("no file a\\nb"))
    'no file a b'
    """

    def __init__(self, message: object = "") -> None:
        said = without_user(str(message))
        if len(said) > _LONGEST:
            said = f"{said[: _LONGEST - _END - 1]}…{said[-_END:]}"
        super().__init__(_UNSEEN.sub(_seen, said))


def _seen(found: re.Match[str]) -> str:
    return " " if found[0].isspace() else "\N{REPLACEMENT CHARACTER}"


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM): as by Ctrl-C, and another exit code."""


class ConfigError(ClusterkitError):
    """A configuration file or option is wrong."""


class DataError(ClusterkitError):
    """A dataset cannot be used as it is."""


class ImageError(DataError):
    """One image cannot be read."""


class OutputError(ClusterkitError):
    """A file or folder cannot be written."""


class OthersError(ClusterkitError):
    """A fit of several processes has ended, and another one of them says why."""


class RunError(ClusterkitError):
    """A directory is not a run, or not one that this version can read."""


class RankError(RunError):
    """One process of a fit of several failed, and is the one that says so."""


class StoreError(ClusterkitError):
    """A store does not answer any more: no image is to blame, and all that follow would fail."""


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


def without_user(text: str) -> str:
    """Text whose addresses name neither user nor password; a path has left one slash of two.

    >>> without_user("no https://me:pw@host/a"), without_user("s3:/me@b/a"), without_user("/a@b")
    ('no https://host/a', 's3:/b/a', '/a@b')
    >>> without_user("no '//me:pw@host/a'"), without_user("a//b@c")
    ("no '//host/a'", 'a//b@c')
    """
    return _USER.sub(r"\1", text)


def shown(text: str, limit: int = 60) -> str:
    """Cut what a stranger wrote, so that an error stays one line and harmless to a terminal.

    >>> shown("a" * 9, limit=4), shown("a\\nb") == "a\N{REPLACEMENT CHARACTER}b"
    ('aaa…', True)
    """
    plain = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1]
    )
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
