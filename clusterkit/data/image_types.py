"""Types of files by their endings: images that are read, images that are not, and others."""

import os
from functools import cache

from clusterkit.data.guarded_path import GuardedPath
from clusterkit.data.imageio.dicom import is_dicom
from clusterkit.data.imageio.image_formats import HEIF_ADVICE, HEIF_ENDINGS, open_formats
from clusterkit.data.left_out import ending_of
from clusterkit.data.remote_files import is_remote, read_heads

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")

# Not even opened when images are looked for.
OTHER_ENDINGS = frozenset((
    ".csv", ".tsv", ".txt", ".json", ".toml", ".md", ".xml", ".html", ".pdf", ".zip", ".gz", ".py",
    ".ipynb", ".log", ".xlsx",
))  # fmt: skip

# Images that people have and that are not read, in words that follow "it is".
_NOT_READ = {
    "a HEIC image": HEIF_ENDINGS,
    "an AVIF image": (".avif", ".avifs"),
    "a JPEG XL image": (".jxl",),
    "a NIfTI volume": (".nii", ".nii.gz"),
    "an Analyze volume": (".img", ".hdr", ".img.gz"),
    "an NRRD volume": (".nrrd", ".nhdr"),
    "a MetaImage volume": (".mha", ".mhd"),
    "a MINC volume": (".mnc",),
    "a FreeSurfer volume": (".mgz", ".mgh"),
    "a whole-slide image": (".svs", ".ndpi", ".ndpis", ".scn", ".mrxs", ".vms", ".vmu", ".bif",
                            ".vsi", ".isyntax", ".qptiff", ".svslide", ".kfb", ".sdpc", ".tron"),
    "a microscope's file": (".czi", ".lif", ".nd2", ".lsm", ".oib", ".oif", ".oir", ".ims", ".zvi",
                            ".stk", ".dv", ".r3d", ".flex", ".lof", ".xlef"),
    "a film": (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".wmv", ".webm", ".mpg", ".mpeg", ".mts",
               ".m2ts", ".3gp", ".flv", ".ogv"),
    "a camera's raw file": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef",
                            ".srw"),
    "a FITS image": (".fits", ".fit", ".fts"),
    "a compressed DICOM file": (".dcm.gz", ".dcm.bz2", ".dcm.xz"),
}  # fmt: skip
_KINDS = {ending: kind for kind, endings in _NOT_READ.items() for ending in endings}
_ADVICE = {
    "a HEIC image": HEIF_ADVICE,
    "an AVIF image": "Pillow 11.3 and later read it",
    "a film": "save its frames as images",
    "a compressed DICOM file": "unpack it",
    "a whole-slide image": "save tiles or an overview as PNG or TIFF",
    "a camera's raw file": "save it as TIFF or PNG",
}

# How files begin that are images whatever they are called.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@cache
def image_extensions() -> frozenset[str]:
    """File endings that Pillow can read, in lower case, with their dots."""
    # Pillow lists these too, but they are documents, films or data, not pictures.
    others = {".pdf", ".ps", ".eps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".fit",
              ".fits", ".wmf", ".emf"}  # fmt: skip
    return frozenset(open_formats() - others)


def maybe_dicom(name: str) -> bool:
    """Return True where a file may be DICOM by its name.

    Hospitals' files often have no ending, or a number for one.

    >>> [maybe_dicom(name) for name in ("scan.dcm", "IM0001", "1.2.840.9", "a.png")]
    [True, True, True, False]
    """
    suffix = os.path.splitext(os.path.basename(name))[1].lower()
    if os.path.basename(name).upper() == "DICOMDIR" or suffix in OTHER_ENDINGS:
        return False
    return suffix not in image_extensions()


def why_not_read(name: str) -> str:
    """Return why an image of this ending is not read, in words for a person; "": it is no such.

    >>> why_not_read("a/Scan.NII.GZ"), why_not_read("a.png"), why_not_read("a.csv")
    ('a NIfTI volume (.nii.gz), which clusterkit does not read', '', '')
    """
    ending = ending_of(name)
    kind = _KINDS.get(ending)
    if kind is None or ending in image_extensions():
        return ""
    advice = _ADVICE.get(kind)
    return f"{kind} ({ending}), which clusterkit does not read" + (f": {advice}" if advice else "")


def guarded_path(path: str) -> str:
    """Return a path that says why its file is not read, where that is of such a type."""
    why = "" if isinstance(path, GuardedPath) else why_not_read(path)
    if not why:
        return path
    if is_remote(path):
        head = next(read_heads([path]))
        return path if head is None or looks_like_image(head) else GuardedPath(path, (), why)
    try:
        # Whatever it is called, an image is read: of a table, a person has named it.
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return path if looks_like_image(file.read(132)) else GuardedPath(path, (), why)
    except OSError:
        pass
    return path


def looks_like_image(head: bytes) -> bool:
    """Return True where a file begins (132 bytes) as one of the most frequent images does."""
    return head.startswith(_MAGIC) or is_dicom(head)
