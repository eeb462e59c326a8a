"""Listing of a store: what `listing` does for a folder, from the names that one listing gives."""

import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from clusterkit.data.guarded_path import LEADS_OUT, GuardedPath, RefusedPathError
from clusterkit.data.image_types import (
    DICOM_ENDINGS,
    image_extensions,
    looks_like_image,
    maybe_dicom,
    why_not_read,
)
from clusterkit.data.imageio.dicom import is_dicom
from clusterkit.data.left_out import (
    CLOSED_FILE,
    HIDDEN,
    MISNAMED,
    NO_IMAGE,
    NO_PATH,
    RUNS,
    SYSTEM,
    UNREAD,
    LeftOut,
)
from clusterkit.data.listing import OF_RUN, SYSTEM_FILES, SYSTEM_FOLDERS
from clusterkit.data.remote_files import RemotePath, is_remote, read_heads
from clusterkit.data.remote_places import RemoteLocation
from clusterkit.data.stores import without_secrets
from clusterkit.data.written_names import true_name, written_name
from clusterkit.errors import DataError, shown

# Tables are read from a disk: each row of one is checked against it more than once.
_TABLES = (".csv", ".tsv", ".txt", ".xlsx")


class FoundFiles(NamedTuple):
    """Names of images, sorted, relative to their root; and their URLs in the same order."""

    images: list[str]
    paths: list[str]


def list_remote(place: RemoteLocation, left_out: LeftOut, unread: bool = False) -> FoundFiles:
    """List the images of a folder in a store, or the one file that it is.

    The same files count as in a folder of this machine; see `listing.list_images`. There are no
    links, and names that are no paths are left out.

    Parameters
    ----------
    place : RemoteLocation
    left_out : LeftOut
        Counts the files that are not listed.
    unread : bool
        Images of types that are not read are listed too, with a path that says why.

    Raises
    ------
    DataError
        It cannot be listed, is a table, or holds no image.
    """
    if place.is_file():
        return _one_file(place)
    own = LeftOut()
    walk = _RemoteWalk(place, own, unread)
    walk.take_all(list(place.list_files()))
    left_out.include(own)
    if walk.found:
        pairs = sorted(walk.found)
        return FoundFiles([image for image, _ in pairs], [path for _, path in pairs])
    if not walk.seen:
        raise DataError(f"no image in {place}: nothing lies below it; check the names of the "
                        "bucket and the folder, and the address of the store")  # fmt: skip
    raise DataError(f"no image in {place}: {'; '.join(own.sentences()) or 'no file counts'}")


def find_named(
    root: RemoteLocation,
    written: Sequence[str],
    where: Callable[[int], str],
    refused: dict[int, RefusedPathError],
) -> tuple[list[str], list[str]]:
    """Names and URLs of the files that the cells of a table name, by one listing.

    Parameters
    ----------
    root : RemoteLocation
        Cells are paths relative to it, or URLs below it.
    written : sequence of str
    where : callable
        Words for the place of a row's number.
    refused : dict
        Takes, by the number of its row, why a name is not followed; the URL is then "".

    Raises
    ------
    DataError
        The root cannot be listed.
    """
    names = [_below(root, cell, where(row), row, refused) for row, cell in enumerate(written)]
    # Of a large store, only the folder that all of them are in.
    kept = [name for name in names if name]
    common = posixpath.commonpath([posixpath.dirname(name) for name in kept]) if kept else ""
    start = RemoteLocation(f"{root.url}/{true_name(common)}") if common else root
    there = {str(path): path for path in start.list_files()} if kept else {}
    paths: list[str] = []
    for row, name in enumerate(names):
        urls = [f"{root.url}/{key}" for key in (true_name(name), name)]
        known = [there[url] for url in urls if url in there]
        if not known and is_remote(written[row]):
            # Of no key that is there, a question mark begins a query.
            names[row] = name = name.partition("?")[0]
            urls = [f"{root.url}/{true_name(name)}"]
        paths.append("" if not name else known[0] if known
                     else GuardedPath(urls[0], (), "file does not exist"))  # fmt: skip
    return names, paths


def _below(
    root: RemoteLocation,
    cell: str,
    where: str,
    row: int,
    refused: dict[int, RefusedPathError],
) -> str:
    """Return the path relative to the root that a cell means; "": it leads elsewhere."""
    name = cell.removeprefix(f"{root.url}/") if is_remote(cell) else cell.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if "://" not in name and "\0" not in name and parts and ".." not in parts and name[0] != "/":
        return PurePosixPath(name).as_posix()
    said = f"{where}: '{shown(without_secrets(cell))}' is not below {root}; name a root that holds "
    refused[row] = RefusedPathError(f"{said}all images with --images", LEADS_OUT)
    return ""


def _one_file(place: RemoteLocation) -> FoundFiles:
    if place.name.lower().endswith(_TABLES) or place.name.upper() == "DICOMDIR":
        raise DataError(f"{place} is a table, which is read from a folder of this machine; copy it "
                        f"here, and name the root of its images with --images")  # fmt: skip
    return FoundFiles([written_name(place.name)], list[str](place.as_files()))


class _RemoteWalk:
    """What the names of a listing come to."""

    def __init__(self, place: RemoteLocation, left_out: LeftOut, unread: bool) -> None:
        self.left_out, self.unread, self.seen = left_out, unread, False
        self.start = len(place.url) + 1
        self.readable = image_extensions() | set(DICOM_ENDINGS)
        self.found: list[tuple[str, str]] = []
        self.others: list[tuple[str, RemotePath]] = []
        self.runs: set[str] = set()
        # By a folder's path with its slash: whether what is in it counts.
        self.folders: dict[str, bool] = {"": True}

    def take_all(self, paths: list[RemotePath]) -> None:
        """Take every file for an image, or count it."""
        self.seen = bool(paths)
        self.runs = self._folders_of_runs(paths)
        for path in paths:
            name = path[self.start :]
            folder, _, last = name.rpartition("/")
            if not last:
                # What a store keeps in the place of an empty folder.
                continue
            if any(part in ("", ".", "..") for part in name.split("/")):
                self.left_out.add(written_name(name), NO_PATH)
            elif self._counts(f"{folder}/" if folder else ""):
                self._take(name, last, path)
        self._take_others()

    def _folders_of_runs(self, paths: list[RemotePath]) -> set[str]:
        found: dict[str, set[str]] = {}
        for path in paths:
            folder, _, last = path[self.start :].rpartition("/")
            if last in OF_RUN and folder:
                found.setdefault(f"{folder}/", set()).add(last)
        return {folder for folder, names in found.items() if names >= OF_RUN}

    def _counts(self, folder: str) -> bool:
        known = self.folders.get(folder)
        if known is None:
            above, _, name = folder[:-1].rpartition("/")
            known = self._counts(f"{above}/" if above else "") and self._is_of_images(folder, name)
            self.folders[folder] = known
        return known

    def _is_of_images(self, folder: str, name: str) -> bool:
        if name[0] == ".":
            return False
        if name.lower() in SYSTEM_FOLDERS:
            self.left_out.add(name, SYSTEM, written_name(name))
            return False
        if folder in self.runs:
            self.left_out.add(folder, RUNS, name)
            return False
        return True

    def _take(self, name: str, last: str, path: RemotePath) -> None:
        ending = os.path.splitext(last)[1].lower()
        if last[0] == ".":
            if ending in image_extensions() and not last.startswith("._"):
                self.left_out.add(written_name(last), HIDDEN)
        elif ending in self.readable:
            self.found.append((written_name(name), path))
        elif last.lower() not in SYSTEM_FILES:
            self.others.append((name, path))

    def _take_others(self) -> None:
        """Take what is no image by its ending: what is in it may make it DICOM."""
        asked = [path for name, path in self.others if maybe_dicom(os.path.basename(name))]
        heads = dict(zip(asked, read_heads(asked), strict=True))
        for name, path in self.others:
            image, head = written_name(name), heads.get(path, b"")
            why = why_not_read(os.path.basename(name))
            if head is None:
                self.left_out.add(image, CLOSED_FILE)
            elif is_dicom(head):
                self.found.append((image, path))
            elif why and self.unread:
                self.found.append((image, GuardedPath(path, (), why)))
            else:
                plain = MISNAMED if looks_like_image(head) else NO_IMAGE
                self.left_out.add(image, UNREAD if why else plain)
