"""Names of files as tables write them: the one place where they become paths below a root."""

import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shlex import quote
from urllib.parse import unquote

from clusterkit.data.guarded_path import LEADS_OUT, RefusedPathError
from clusterkit.data.image_types import DICOM_ENDINGS, image_extensions
from clusterkit.data.remote_files import is_remote
from clusterkit.data.stores import without_secrets
from clusterkit.errors import shown

log = logging.getLogger("clusterkit")

# Also such as wadouri:https://…
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+:)+//")
_DRIVE = re.compile(r"[A-Za-z]:")

# Where a name stands, for messages: the row's number to words.
Where = Callable[[int], str]


def relative_names(
    root: Path,
    written: Sequence[str],
    where: Where,
    refused: dict[int, RefusedPathError] | None = None,
) -> list[str]:
    """Names of files relative to their root, with forward slashes.

    Slashes of either kind, absolute paths, ``file:`` addresses and ``..`` are allowed as long as
    the path ends below the root. Links are not judged here, but by `files.inside_root`.

    Parameters
    ----------
    root : path
    written : sequence of str
        The cells.
    where : callable
        Words for the place of a row's number.
    refused : dict or None
        Takes, by the number of its row, why a name is not followed; the name is then "".

    Raises
    ------
    RefusedPathError
        A name is an address, or leads out of the root, and `refused` is None.
    """
    names = []
    for row, cell in enumerate(written):
        image = cell.replace("\\", "/")
        # Few names are more than this; of a million, each step more takes a second.
        if image[:1] != "/" and ":" not in image and ".." not in image:
            names.append(PurePosixPath(image).as_posix() if image else "")
            continue
        if image.lower().startswith("file://"):
            image = unquote(re.sub("^//localhost/", "/", image[5:].replace("///", "/", 1)))
        error, name = None, None
        if _ADDRESS.match(image):
            said = ("is an address, which is read only below --images URL; give the folder that "
                    "all images are in" if is_remote(image) else "is an address, and addresses are "
                    "not read; download the images first and name their files")  # fmt: skip
            error = RefusedPathError(f"{where(row)}: '{shown(without_secrets(cell))}' {said}",
                                     "an address, and addresses are not read")  # fmt: skip
        else:
            name = PurePosixPath(image).as_posix() if _stays(image) else _below(root, image)
        if error is None and name is None:
            # The advice looks at all rows: it is given once.
            advice = "" if refused else "; " + _advice(root, image, written)
            said = f"{where(row)}: image path '{image}' leaves the data root {root}{advice}"
            error = RefusedPathError(said, LEADS_OUT)
        if error is not None:
            if refused is None:
                raise error
            refused[row] = error
        names.append(name or "")
    return names


def with_ending(name: str, ending: str) -> str:
    """Name of a file with an ending, where it has none that images have.

    >>> with_ending("ISIC_1", "jpg"), with_ending("a.v2", ".jpg"), with_ending("b.PNG", ".jpg")
    ('ISIC_1.jpg', 'a.v2.jpg', 'b.PNG')
    """
    ending = "." + ending.lstrip(".")
    known = not name or name.lower().endswith(ending.lower()) or _is_named_image(name)
    return name if known else name + ending


def _is_named_image(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in image_extensions() or suffix in DICOM_ENDINGS


def _is_absolute(image: str) -> bool:
    return image.startswith("/") or bool(_DRIVE.match(image)) or os.path.isabs(image)


def _stays(image: str) -> bool:
    """Whether a path is relative, and goes down only."""
    return not _is_absolute(image) and ".." not in image.split("/")


def _below(root: Path, image: str) -> str | None:
    """Path relative to the root that it ends in; None: it ends elsewhere."""
    if _DRIVE.match(image) and os.name != "nt":
        return None
    path = root.absolute() / image
    pairs = [(root.absolute(), path)]
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        # Of the folder: a link's own name is kept, so that it is judged as one.
        pairs.append((root.resolve(), path.parent.resolve() / path.name))
    for base, full in pairs:
        inside = ".." not in (*base.parts, *full.parts) and full.is_relative_to(base)
        if inside and full != base:
            return full.relative_to(base).as_posix()
    return None


def _advice(root: Path, image: str, written: Sequence[str]) -> str:
    """What to do about a path that leads out of the root; only what helps is said."""
    parts = [part for part in image.split("/") if part not in ("", "..")]
    for start in range(1 if _is_absolute(image) else 0, len(parts)):
        tail = "/".join(parts[start:])
        if _is_file(root / tail):
            return f"write paths relative to it: '{tail}' is there"
    common = _common_root(root, [cell.replace("\\", "/") for cell in written if cell])
    if common:
        return ("name a folder that holds all images with --images, e.g. --images "
                + quote(str(common)))  # fmt: skip
    return ("write paths relative to a folder that holds all images, and name that folder with "
            "--images")  # fmt: skip


def _common_root(root: Path, images: list[str]) -> Path | None:
    """Lowest folder below which all images are by the names that they have; None: no such."""
    folders = [os.path.dirname(os.path.abspath(root / image)) for image in images]
    try:
        common = Path(os.path.commonpath(folders))
    except ValueError:
        return None
    for folder in (common, *common.parents):
        # Names that go up may lead out of a folder that holds all files.
        if all(_below(folder, image) for image in images):
            return folder if _is_file(folder / images[0]) else None
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@dataclass
class _Listing:
    """Names in one folder, by what is the same in them for a person."""

    names: dict[str, list[str]] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)


class FileFinder:
    """Files whose names a table spells otherwise: in case, in Unicode's form, without the ending.

    Each folder is listed once, and only where a name in it is not found.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.listings: dict[str, _Listing] = {}
        self.otherwise = 0
        self.hints: list[str] = []

    def find(self, name: str, where: str) -> str:
        """Name of the file that is meant, relative to the root; the same name where none is.

        Raises
        ------
        RefusedPathError
            Several files may be meant.
        """
        folder, found = str(self.root), []
        *folders, last = name.split("/")
        for part in folders:
            place = self._spelled(folder, part, where)
            if place is None:
                return name
            folder = os.path.join(folder, place)
            found.append(place)
        file = self._spelled(folder, last, where) or self._with_ending(folder, last, where)
        if file is None:
            self._hint(folder, name, last)
            return name
        self.otherwise += 1
        return "/".join([*found, file])

    def report(self) -> None:
        """Say how many names were found under another spelling, and which may be meant."""
        if self.otherwise:
            log.info("%d names of files are spelled otherwise than the files", self.otherwise)
        if self.hints:
            log.warning("%d images do not exist under the name that the table gives, but nearly, "
                        "e.g. %s", len(self.hints), self.hints[0])  # fmt: skip

    def _spelled(self, folder: str, name: str, where: str) -> str | None:
        if os.path.lexists(os.path.join(folder, name)):
            return name
        near = self._list(folder).names.get(_folded(name), [])
        composed = unicodedata.normalize("NFC", name)
        same = [n for n in near if unicodedata.normalize("NFC", n) == composed]
        return _only(same or near, name, where, "write it as the file is called")

    def _with_ending(self, folder: str, name: str, where: str) -> str | None:
        if _is_named_image(name):
            return None
        near = self._list(folder).stems.get(_folded(name), [])
        return _only(near, name, where, "write the ending, or give --image-ending")

    def _hint(self, folder: str, name: str, last: str) -> None:
        others = self._list(folder).stems.get(_folded(os.path.splitext(last)[0]), [])
        if others:
            self.hints.append(f"'{shown(name)}': there is '{shown(others[0])}'")

    def _list(self, folder: str) -> _Listing:
        listing = self.listings.get(folder)
        if listing is None:
            listing = self.listings[folder] = _Listing()
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            for name in names:
                listing.names.setdefault(_folded(name), []).append(name)
                if _is_named_image(name):
                    stem = _folded(os.path.splitext(name)[0])
                    listing.stems.setdefault(stem, []).append(name)
        return listing


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _only(names: list[str], name: str, where: str, advice: str) -> str | None:
    if len(names) > 1:
        said = f"'{shown(name)}' may be '{shown(names[0])}' or '{shown(names[1])}'; {advice}"
        raise RefusedPathError(f"{where}: {said}", said)
    return names[0] if names else None
