"""Finding image files under a root, and keeping every path inside it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from clusterkit.data.guarded_path import LEADS_OUT, RefusedPathError, is_inside
from clusterkit.data.left_out import LeftOut
from clusterkit.data.listing import list_images
from clusterkit.data.remote_files import RemotePath
from clusterkit.data.remote_places import Place, RemoteLocation
from clusterkit.data.written_names import true_name


def find_images(root: Path, left_out: LeftOut | None = None) -> list[str]:
    """Names of the images under a folder: sorted, relative to it, with forward slashes.

    Raises
    ------
    DataError
        As `list_images`, which also knows the paths.
    """
    return list_images(root, left_out).images


@dataclass(frozen=True)
class ImageFolder:
    """Folder that images of a table are relative to, and folders that links in it may lead into."""

    root: Place
    link_roots: tuple[Path, ...] = ()

    def find(self, image: str, where: str) -> Path | RemotePath:
        """Path of an image under the root; of a store's, its URL, whether it is there or not.

        Parameters
        ----------
        image : str
            Relative path, with slashes of either kind; what no table holds is escaped in it, see
            `data.written_names`.
        where : str
            Place of the path in the user's data, for the error message.

        Raises
        ------
        RefusedPathError
            The path is empty, absolute, or leads out of the root, by `..` or by a link.
        """
        relative = PurePosixPath(image.replace("\\", "/"))
        # Elsewhere than on Windows, and in a store, a name may begin so: x:y.png.
        drive = (
            image[1:2] == ":"
            and isinstance(self.root, Path)
            and (os.name == "nt" or image[2:3] in ("/", "\\"))
        )
        if not image or "\0" in image:
            raise RefusedPathError(f"{where}: empty or impossible image path {image!r}",
                                   "empty or impossible path")  # fmt: skip
        if relative.is_absolute() or drive or ".." in relative.parts:
            raise RefusedPathError(
                f"{where}: image path '{image}' leaves the data root {self.root}; "
                "use paths relative to it, or name their root with --images",
                LEADS_OUT,
            )
        if isinstance(self.root, RemoteLocation):
            return self.root.file(true_name(str(relative)))
        path = _named_file(self.root, relative)
        if not self._holds(path):
            raise RefusedPathError(
                f"{where}: image path '{image}' is a link that leaves the data root {self.root}; "
                "give the folder that it leads to with --link-root",
                "a link that leads out of the data root, and is not followed (--link-root)",
            )
        return path

    @cached_property
    def _real_roots(self) -> tuple[str, ...]:
        # Once, and not for each of a million rows.
        folders = [root for root in (self.root, *self.link_roots) if isinstance(root, Path)]
        return tuple(str(folder.resolve()) for folder in folders)

    def _holds(self, path: Path) -> bool:
        try:
            return is_inside(str(path.resolve()), self._real_roots)
        except (OSError, RuntimeError, ValueError):
            return False


def inside_root(root: Path, image: str, where: str, link_roots: Sequence[Path] = ()) -> Path:
    """Path of one image under its root; of several, `ImageFolder.find` looks at the root once."""
    return Path(ImageFolder(root, tuple(link_roots)).find(image, where))


def _named_file(root: Path, relative: PurePosixPath) -> Path:
    """Path of the file that a written name means: its own, else one that is called just so."""
    path = root / true_name(str(relative))
    return path if os.path.lexists(path) else root / relative
