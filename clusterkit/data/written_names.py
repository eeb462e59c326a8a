"""Names that every file and terminal takes: what cannot be written is escaped, reversibly.

File systems allow names that are no text: bytes of another encoding, line ends, escape sequences.
A name is written with such a byte as ``%F6`` (upper case), and so is the ``%`` of a name that
would otherwise be taken for one written so. All other names stay as they are, ``a%20b.png`` and
``x%C3%A4.png`` too: those bytes are a blank and a letter, which are never escaped.
"""

import os
import re
from pathlib import Path

from clusterkit.data.remote_files import is_remote
from clusterkit.data.remote_places import Place, RemoteLocation, place_of

# Control characters, ends of lines of any kind, bytes that are no UTF-8, and what is no character.
_CONTROL = "\x01-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff"
# Elsewhere a backslash separates folders; here it may be a letter of a name.
_OF_NAMES = _CONTROL if os.name == "nt" else _CONTROL + r"\\"
_ODD = {"name": re.compile(f"[{_OF_NAMES}]"), "text": re.compile(f"[\x00{_CONTROL}]")}

# Bytes that were written so, one after the other; %25 only before what would be taken for one.
_WRITTEN = re.compile(r"(?:%25(?=[0-9A-F]{2})|%(?!25)[0-9A-F]{2})+")
_PERCENT = re.compile(r"%(?=[0-9A-F]{2})")
_LONE = "surrogatepass" if os.name == "nt" else "surrogateescape"


def written_name(name: str) -> str:
    """Path with forward slashes as it stands in tables, pages and messages.

    >>> written_name("a/b.png"), written_name("a/gr\\udcf6sse.png"), written_name("a\\r.png")
    ('a/b.png', 'a/gr%F6sse.png', 'a%0D.png')
    """
    if name.isascii() and name.isprintable() and "%" not in name and "\\" not in name:
        return name
    return "/".join(_escaped(part, "name") for part in name.split("/"))


def true_name(written: str) -> str:
    """Path of which `written_name` has made this one.

    >>> true_name("a/gr%F6sse.png") == "a/gr\\udcf6sse.png", true_name("a%20b.png")
    (True, 'a%20b.png')
    """
    return _restored(written, "name") if "%" in written else written


def written_text(text: str) -> str:
    """Text of a cell, such as a patient's name, without control characters; no two become one.

    >>> written_text("A\\tB"), written_text("100%"), written_text("A%09B")
    ('A%09B', '100%', 'A%2509B')
    """
    if text.isprintable() and "%" not in text:
        return text
    return _escaped(text, "text")


def relative_folder(folder: Place, start: Path) -> str:
    """Path of a folder relative to another, as a record keeps it; of a store, its URL."""
    if isinstance(folder, RemoteLocation):
        return written_name(folder.url)
    relative = os.path.relpath(folder, start)
    return "/".join(_escaped(part, "name") for part in relative.split("/"))


def place_of_record(recorded: str, start: Path) -> Place:
    """Folder, or place in a store, of which `relative_folder` has made this text.

    Raises
    ------
    DataError
        It is an address that nobody could have given; see `place_of`.
    """
    if is_remote(recorded):
        return place_of(true_name(recorded))
    return folder_of_record(recorded, start)


def folder_of_record(recorded: str, start: Path) -> Path:
    """Folder of this machine of which `relative_folder` has made this text."""
    return Path(os.path.normpath(start / true_name(recorded)))


def _escaped(text: str, kind: str) -> str:
    if not _ODD[kind].search(text) and _restored(text, kind) == text:
        return text
    text = _PERCENT.sub("%25", text)
    return _ODD[kind].sub(lambda match: "".join(f"%{b:02X}" for b in _bytes(match[0])), text)


def _restored(text: str, kind: str) -> str:
    def restore(match: re.Match[str]) -> str:
        found = bytes.fromhex(match[0].replace("%", "")).decode("utf-8", _LONE)
        odd = all(c == "%" or _ODD[kind].match(c) for c in found)
        return found if odd else match[0]

    return _WRITTEN.sub(restore, text)


def _bytes(character: str) -> bytes:
    try:
        return character.encode("utf-8", _LONE)
    except UnicodeEncodeError:
        # No name of a file has it here; JSON may.
        return character.encode("utf-8", "surrogatepass")
