"""Listing of a folder: every file below it is an image, or is counted with the reason.

Hidden files and folders, and what systems put beside the images, are passed over; see
`SYSTEM_FOLDERS`. Each name is a row, also where several links lead to one file, as in the stores
of DVC and git-annex: two copies would be two rows too. Each folder is listed once, by its own name
before that of a link, so that a circle of links ends.
"""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from clusterkit.data.guarded_path import GuardedPath, is_inside
from clusterkit.data.image_types import (
    DICOM_ENDINGS,
    OTHER_ENDINGS,
    image_extensions,
    looks_like_image,
    maybe_dicom,
    why_not_read,
)
from clusterkit.data.imageio.dicom import is_dicom
from clusterkit.data.left_out import (
    AGAIN,
    CLOSED,
    CLOSED_FILE,
    DEAD,
    HIDDEN,
    LINKED,
    MISNAMED,
    NO_IMAGE,
    OUTSIDE,
    RUNS,
    SYSTEM,
    TEXT_LINKS,
    UNREAD,
    LeftOut,
)
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")

# Thumbnails, recycle bins and the like of NAS, Windows, macOS and Linux: images in them are no
# data, and their names no diagnoses.
SYSTEM_FOLDERS = frozenset((
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
    "recycler", "recycled", "system volume information", "lost+found", "__macosx", "__pycache__",
    "found.000", "network trash folder", "temporary items",
))  # fmt: skip
SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))

# A folder with these is a run: its pictures are its own.
OF_RUN = {"run.json", "gallery.safetensors"}

_PLAIN = re.compile(r"[ -$&-\[\]-~]+")


@dataclass
class Listing:
    """Images under a folder.

    Attributes
    ----------
    base : str
        The folder, absolute.
    images : list of str
        Their names, sorted, relative to it, with forward slashes; see `data.written_names`.
    others : dict of str to str
        Paths of the images whose path is not simply base and name.
    """

    base: str
    images: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """Absolute paths, in the order of `images`."""
        base, others = os.path.join(self.base, ""), self.others
        return [others[i] if i in others else base + i for i in self.images]


def list_images(
    root: Path,
    left_out: LeftOut | None = None,
    links: LinkRules | None = None,
    unread: bool = False,
) -> Listing:
    """List the images under a folder.

    Parameters
    ----------
    root : path
    left_out : LeftOut or None
        Counts the files that are not listed.
    links : LinkRules or None
        None: no link to a folder is followed, and none that leads out of `root`.
    unread : bool
        Images of types that are not read are listed too, with a path that says why.

    Raises
    ------
    DataError
        The folder does not exist or holds no image.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist; give the folder that holds the images")
    own = LeftOut()
    walk = _Walk(root, own, links or LinkRules(), unread)
    walk.list_all()
    if left_out is not None:
        left_out.include(own)
    advice = walk.link_advice()
    if walk.listing.images:
        for text in advice:
            log.warning("%s", text)
        return walk.listing
    found = "; ".join([*advice, *own.sentences()])
    if found:
        raise DataError(f"no image in {root}: {found}")
    common = ".png .jpg .tif .bmp .webp .gif"
    raise DataError(f"no image in {root}; looked for {common}, what else Pillow reads, and "
                    "DICOM files of any name")  # fmt: skip


@dataclass(frozen=True)
class _Folder:
    """Folder to list.

    Attributes
    ----------
    path, real : str
        As it is reached, and with links resolved.
    prefix : str
        Of its images' names.
    linked : bool
        It is reached by a link.
    plain : bool
        Its path is the base's and its prefix.
    """

    path: str
    real: str
    prefix: str
    linked: bool
    plain: bool

    def inner(self, name: str) -> "_Folder":
        """Return a folder in this one."""
        path, real, written = os.path.join(self.path, name), os.path.join(self.real, name), name
        if not _PLAIN.fullmatch(name):
            written = written_name(name)
        plain = self.plain and written == name
        return _Folder(path, real, f"{self.prefix}{written}/", self.linked, plain)


class _Walk:
    """Walk through a folder and what its links lead to."""

    def __init__(self, root: Path, left_out: LeftOut, rules: LinkRules, unread: bool) -> None:
        self.root, self.left_out, self.rules, self.unread = root, left_out, rules, unread
        self.listing = Listing(str(root.absolute()))
        self.allowed = rules.allowed(root)
        self.readable = image_extensions() | set(DICOM_ENDINGS)
        self.known = frozenset(ending[1:] for ending in self.readable)
        self.seen: set[str] = set()
        self.links: list[tuple[_Folder, str]] = []
        self.outside: list[tuple[str, str]] = []
        self.unfollowed: list[str] = []

    def list_all(self) -> None:
        """List the folder itself, then what links lead to, until there is nothing new."""
        self._list_below(_Folder(self.listing.base, self.allowed[0], "", False, True))
        while self.links:
            links, self.links = sorted(self.links, key=lambda link: link[0].prefix + link[1]), []
            for folder, name in links:
                self._take_link(folder, name)
        self.listing.images.sort()

    def link_advice(self) -> Iterator[str]:
        """Yield what to say of links that were not followed."""
        if self.outside:
            where = _common_folder([target for _, target in self.outside])
            # What a table calls a name is of no use on a command line.
            yield (f"{len(self.outside)} links lead out of {self.root} and are left out, e.g. "
                   f"{self.outside[0][0]}: give --follow-links --link-root "
                   f"{quote(written_name(where))}, if they are meant")  # fmt: skip
        copied = list(self.left_out.counts.get(TEXT_LINKS, ()))
        if copied:
            yield (f"{len(copied)} links in {self.root} were copied as text, e.g. {copied[0]}: "
                   "put what they lead to in their place")  # fmt: skip
        if self.unfollowed:
            yield (f"{len(self.unfollowed)} links to folders are not followed, e.g. "
                   f"{self.unfollowed[0]}: give --follow-links, if they are meant")  # fmt: skip

    def _list_below(self, start: _Folder) -> None:
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            if folder.real in self.seen:
                self.left_out.add(folder.prefix, AGAIN, os.path.basename(folder.prefix[:-1]))
                continue
            self.seen.add(folder.real)
            waiting += self._list_one(folder)

    def _list_one(self, folder: _Folder) -> list[_Folder]:
        """List the files of one folder; returns the folders in it."""
        # Of a million files, whatever is done for each takes as long as to list them, and their
        # entries take more memory than their names.
        images, others, run = [], [], set()
        known, plain = self.known, _PLAIN.fullmatch
        try:
            with os.scandir(folder.path) as found:
                for entry in found:
                    name = entry.name
                    stem, _, ending = name.rpartition(".")
                    if (
                        stem
                        and ending.lower() in known
                        and folder.plain
                        and name[0] != "."
                        and plain(name)
                        and entry.is_file(follow_symlinks=False)
                    ):
                        images.append(folder.prefix + name)
                        continue
                    others.append(entry)
                    if name in OF_RUN:
                        run.add(name)
        except OSError:
            self.left_out.add(folder.prefix, CLOSED, os.path.basename(folder.prefix[:-1]))
            return []
        if folder.prefix and run == OF_RUN:
            self.left_out.add(folder.prefix, RUNS, os.path.basename(folder.prefix[:-1]))
            return []
        self.listing.images += images
        return [inner for entry in others for inner in self._take_entry(folder, entry)]

    def _take_entry(self, folder: _Folder, entry: os.DirEntry) -> Iterator[_Folder]:
        """Take an entry that is no plain image; yields it if it is a folder to be listed."""
        name = entry.name
        if name[0] == ".":
            self._pass_over(entry, name)
        elif entry.is_symlink():
            self.links.append((folder, name))
        elif entry.is_dir(follow_symlinks=False):
            if name.lower() in SYSTEM_FOLDERS:
                self.left_out.add(name, SYSTEM, written_name(name))
            else:
                yield folder.inner(name)
        else:
            stem, _, ending = name.rpartition(".")
            if not stem or ending.lower() not in self.known:
                self._take_other(folder, name)
            else:
                self._take(folder, name)

    def _take(self, folder: _Folder, name: str, linked: bool = False, reason: str = "") -> None:
        """Take a file for an image whose path is not simply base and name."""
        image, path = folder.prefix + written_name(name), os.path.join(folder.path, name)
        roots = self.allowed if linked or folder.linked else ()
        self.listing.images.append(image)
        self.listing.others[image] = GuardedPath(path, roots, reason) if roots or reason else path

    def _take_other(self, folder: _Folder, name: str, linked: bool = False) -> None:
        """Take a file that is no image by its ending: what is in it may make it DICOM."""
        if name.lower() in SYSTEM_FILES:
            return
        image, path = folder.prefix + written_name(name), os.path.join(folder.path, name)
        head: bytes | None = b""
        if maybe_dicom(name):
            try:
                # A pipe would block for ever.
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        head = file.read(132)
            except OSError:
                head = None
        why = why_not_read(name)
        if head is None:
            self.left_out.add(image, CLOSED_FILE)
        elif is_dicom(head):
            self._take(folder, name, linked)
        elif why and self.unread:
            self._take(folder, name, linked, why)
        else:
            why = UNREAD if why else _why_no_image(folder.path, head)
            self.left_out.add(image, why, written_name(name) if why == TEXT_LINKS else None)

    def _take_link(self, folder: _Folder, name: str) -> None:
        """Follow a link as far as the rules allow it."""
        path, image = os.path.join(folder.path, name), folder.prefix + written_name(name)
        real, is_folder = os.path.realpath(path), os.path.isdir(path)
        ending = os.path.splitext(name)[1].lower()
        if is_folder and name.lower() in SYSTEM_FOLDERS:
            self.left_out.add(image, SYSTEM, written_name(name))
        elif not is_folder and ending in OTHER_ENDINGS:
            self._take_other(folder, name)
        elif not is_inside(real, self.allowed):
            # Not even opened.
            self.outside.append((image, real if is_folder else os.path.dirname(real)))
            self.left_out.add(image, OUTSIDE, written_name(name) if is_folder else None)
        elif not is_folder and ending in self.readable:
            self._take(folder, name, linked=True)
        elif not is_folder and (os.path.exists(real) or why_not_read(name)):
            self._take_other(folder, name, linked=True)
        elif not is_folder:
            # What was behind it, a class perhaps, has not been fetched; or it is a circle.
            self.left_out.add(image, DEAD, written_name(name))
        elif self.rules.follow:
            self._list_below(_Folder(path, real, image + "/", True, False))
        else:
            self.unfollowed.append(image)
            self.left_out.add(image, LINKED, written_name(name))

    def _pass_over(self, entry: os.DirEntry, name: str) -> None:
        """Pass over what is hidden; a picture is counted, but for the shadows that macOS makes."""
        ending = os.path.splitext(name)[1].lower()
        if ending in image_extensions() and not name.startswith("._") and not entry.is_dir():
            self.left_out.add(written_name(name), HIDDEN)


def _why_no_image(folder: str, head: bytes) -> str:
    """Return why a file is no image, by its first 132 bytes."""
    if looks_like_image(head):
        return MISNAMED
    # As git and archives write a link where links are not to be had.
    target = os.fsdecode(head) if 0 < len(head) < 132 and b"\0" not in head else ""
    linked = ("/" in target or os.sep in target) and os.path.exists(os.path.join(folder, target))
    return TEXT_LINKS if linked else NO_IMAGE


def _common_folder(folders: list[str]) -> str:
    """Return the folder that all of them are in, else the first."""
    try:
        common = os.path.commonpath(folders)
    except ValueError:
        return folders[0]
    return common if os.path.dirname(common) != common else folders[0]
