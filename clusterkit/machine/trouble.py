"""One thing that would fail on this machine, or that is good to know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Attributes
    ----------
    about : str
        A word or two, e.g. ``memory``.
    text : str
        One line: what is wrong, the value seen, what to do.
    fails : bool
        Whether a command would fail for it; else it is a note.
    """

    about: str
    text: str
    fails: bool = True


def one_line(error: object, limit: int = 200) -> str:
    """Return an error's words on one line, cut after `limit` characters.

    >>> one_line("a\\n  b"), one_line("abc", limit=2)
    ('a b', 'a…')
    """
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
