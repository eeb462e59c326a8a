"""Folders that are written whole or not at all, and names that every file system takes."""

import glob
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from clusterkit.config import ImageConfig
from clusterkit.data.guarded_path import open_regular
from clusterkit.data.imageio.read import load_image
from clusterkit.errors import DataError, ImageError, shown
from clusterkit.output import check_writable, write_reason

MARKER = "clusterkit-export.json"

# Names of devices, whatever their ending, in Windows.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.I)
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_MAX_BYTES = 120


class Names:
    """Names of files or folders that no file system confuses or refuses.

    Parameters
    ----------
    *taken : str
        Names that are in use already.
    """

    def __init__(self, *taken: str) -> None:
        self.taken = {_key(name) for name in taken}

    def choose(self, wanted: str, distinct: str = "") -> str:
        """Return a safe name like `wanted`; where it is taken, with `distinct` or a number added.

        >>> names = Names("_review")
        >>> [names.choose(n) for n in ("../x", "a/b", "CON", "", "Ring", "ring", "_review", "a\\n")]
        ['x', 'a_b', 'CON_', 'unnamed', 'Ring', 'ring-2', '_review-2', 'a_']
        >>> names.choose("ring", "0a1b"), names.choose("a.png"), names.choose("A.png", "0a1b")
        ('ring-0a1b', 'a.png', 'A-0a1b.png')
        """
        stem, ending = os.path.splitext(wanted)
        stem, ending = (stem, ending) if len(ending) < 10 else (wanted, "")
        stem = _safe(stem) or "unnamed"
        ending = _safe("x" + ending)[1:]
        name, number = _whole(stem, "", ending), 1
        while _key(name) in self.taken:
            number += 1
            addition = distinct if distinct and number == 2 else str(number)
            name = _whole(stem, "-" + addition, ending)
        self.taken.add(_key(name))
        return name


def _whole(stem: str, addition: str, ending: str) -> str:
    room = _MAX_BYTES - len((addition + ending).encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ") or "unnamed"
    name = stem + addition + ending
    return stem + addition + "_" + ending if _DEVICES.match(name) else name


def _safe(text: str) -> str:
    plain = "".join(c if c.isprintable() else "_" for c in unicodedata.normalize("NFC", text))
    # Neither hidden nor a way upwards: what is left of ../x is x.
    return re.sub(r"^(\.+_*)+", "", _UNSAFE.sub("_", plain).strip()).strip(". ")


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@contextmanager
def new_folder(out: Path, about: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `out` when all went well, else it is removed.

    Parameters
    ----------
    out : Path
        May hold an earlier export, and nothing else: that is replaced.
    about : dict
        For the marker file by which an export is recognised: `to`, and `name` of a dataset that
        shows the pictures where they are.

    Raises
    ------
    DataError
        `out` holds anything that no export wrote, or cannot be written.
    """
    if not os.path.lexists(out):
        check_writable(out, "--out DIR", folder=True)
    _check_free(out, about)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(out)
        partial.mkdir()
        yield partial
        files = sorted(_files(partial))
        write_json(partial / MARKER, about | {"files": files})
        _check_free(out, about)
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
    except OSError as error:
        if old.exists() and not out.exists():
            os.replace(old, out)
        raise DataError(
            f"{out} cannot be written: {write_reason(error)}; give another --out"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)


def _remove_dead(out: Path) -> None:
    """Remove what exports of `out` left that were killed: it may hold patients' images."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        number = left.name.rpartition("-")[2]
        if number.isdecimal() and (int(number) == os.getpid() or not _alive(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    if os.name == "nt":
        # There, signal 0 would end the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_free(out: Path, about: dict[str, Any]) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DataError(f"{out} is no folder; give another --out")
    if not out.is_dir():
        return
    found = set(_files(out))
    if not found and not any(out.iterdir()):
        return
    try:
        with open_regular(out / MARKER) as file:
            marker = json.load(file)
        written = set(marker["files"])
    except (ImageError, OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{out} is not empty and was not written by `clusterkit export`; give "
                        "another --out") from None  # fmt: skip
    # A dataset shows its pictures where they are.
    shown_by = marker.get("name") if written else None
    if shown_by is not None and (shown_by, marker.get("to")) != (
        about.get("name"),
        about.get("to"),
    ):
        raise DataError(f"{out} holds the pictures of the dataset '{shown(str(shown_by))}'; give "
                        "another --out")  # fmt: skip
    others = sorted(found - written - {MARKER})
    if others:
        raise DataError(f"{out} holds files that `clusterkit export` did not write, e.g. "
                        f"'{others[0][:200]}'; move them, or give another --out")  # fmt: skip


def _files(folder: Path) -> Iterator[str]:
    # Links to folders come as folders, and are nothing that an export writes.
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*files, *links]:
            yield os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")


def write_json(path: Path, values: Any) -> None:
    """Write JSON as UTF-8, one item of a list per line; NaN is refused: it is no JSON.

    Parameters
    ----------
    values : dict or iterable
        Written as a list, like an iterator among a dict's values: an item at a time is in memory.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        if not isinstance(values, dict):
            _write_list(file, values)
        else:
            for number, (key, value) in enumerate(values.items()):
                file.write(("," if number else "{") + f"\n{_dump(key)}: ")
                listed = isinstance(value, list | Iterator)
                _write_list(file, value) if listed else file.write(_dump(value))
            file.write("\n}")
        file.write("\n")


def _write_list(file: TextIO, values: Iterable[Any]) -> None:
    file.write("[")
    for number, value in enumerate(values):
        file.write(("," if number else "") + "\n" + _dump(value))
    file.write("\n]")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_png(source: Path | str, frame: int, how: ImageConfig, path: Path) -> None:
    """Write one image of a file as PNG, as it is before it is resized for the models.

    Its pixels alone: nothing that the file says besides.

    Raises
    ------
    ImageError
        It cannot be read.
    """
    image = load_image(source, how=how, frame=max(frame, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
