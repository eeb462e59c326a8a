"""Finding image files under a root, and keeping every path inside it."""

import logging
import os
from functools import cache
from pathlib import Path, PurePosixPath

from clusterkit.data.imageio.dicom import is_dicom
from clusterkit.data.left_out import LeftOut
from clusterkit.errors import DataError

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")

# Not even opened when images are looked for.
_OTHER_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".toml", ".md", ".xml", ".html", ".pdf", ".zip",
                  ".gz", ".py", ".ipynb", ".log", ".xlsx")  # fmt: skip

log = logging.getLogger("clusterkit")


@cache
def image_extensions() -> frozenset[str]:
    """File endings that Pillow can read, in lower case, with their dots."""
    from PIL import Image

    Image.init()
    # Pillow lists these too, but they are documents, films or data, not pictures.
    others = {".pdf", ".ps", ".eps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".fit",
              ".fits", ".wmf", ".emf"}  # fmt: skip
    readable = {ext for ext, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return frozenset(readable - others)


def maybe_dicom(name: str) -> bool:
    """Return True where a file may be DICOM by its name.

    Hospitals' files often have no ending, or a number for one.

    >>> [maybe_dicom(name) for name in ("scan.dcm", "IM0001", "1.2.840.9", "a.png")]
    [True, True, True, False]
    """
    suffix = Path(name).suffix.lower()
    if name.upper() == "DICOMDIR" or suffix in _OTHER_ENDINGS:
        return False
    return suffix not in image_extensions()


def _is_image(folder: str, name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in image_extensions() or suffix in DICOM_ENDINGS:
        return True
    path = os.path.join(folder, name)
    if not maybe_dicom(name) or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def find_images(root: Path, left_out: LeftOut | None = None) -> list[str]:
    """Paths of the images under a folder: sorted, relative to it, with forward slashes.

    Hidden files and folders are left out. A link that leads out of the folder is left out
    with a warning.

    Parameters
    ----------
    left_out : LeftOut or None
        Counts the files that are no images.

    Raises
    ------
    DataError
        The folder does not exist or holds no image.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist; give the folder that holds the images")
    found: list[str] = []
    outside: list[str] = []
    resolved = root.resolve()
    for folder, names, files in os.walk(root):
        names[:] = sorted(n for n in names if not n.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        for name in files:
            if name.startswith(".") or not _is_image(folder, name):
                continue
            # Strings: of 100,000 files, a Path each takes longer than to list them.
            path = os.path.join(folder, name)
            inside = not os.path.islink(path) or Path(path).resolve().is_relative_to(resolved)
            (found if inside else outside).append(prefix + name)
    if outside:
        log.warning(
            "%d links lead out of %s and are left out, e.g. %s", len(outside), root, outside[0]
        )
    if not found:
        common = ".png .jpg .tif .bmp .webp .gif"
        raise DataError(f"no image in {root}; looked for {common}, what else Pillow reads, and "
                        "DICOM files of any name")  # fmt: skip
    return sorted(found)


def inside_root(root: Path, image: str, where: str) -> Path:
    """Path of an image under its root.

    Parameters
    ----------
    root : path
    image : str
        Relative path, with slashes of either kind.
    where : str
        Place of the path in the user's data, for the error message.

    Raises
    ------
    DataError
        The path is empty, absolute, or leads out of the root, by `..` or by a link.
    """
    relative = PurePosixPath(image.replace("\\", "/"))
    drive = len(image) > 1 and image[1] == ":"
    if not image or "\0" in image:
        raise DataError(f"{where}: empty or impossible image path {image!r}")
    if relative.is_absolute() or drive or ".." in relative.parts:
        raise DataError(
            f"{where}: image path '{image}' leaves the data root {root}; "
            "use paths relative to it, or name their root with --images"
        )
    path = root / relative
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        stays = False
    if not stays:
        raise DataError(f"{where}: image path '{image}' is a link that leaves the data root {root}")
    return path
