"""Formats that Pillow reads, with those that other packages add to it: asked for at one place.

Every process asks before it opens an image, so that worker processes know the same formats.
"""

from functools import cache

from PIL import Image

# Read where pillow-heif is installed.
HEIF_ENDINGS = (".heic", ".heif", ".hif", ".heics", ".heifs")
HEIF_ADVICE = "pip install 'clusterkit[heif]' reads it"

# Not pictures, or drawn by another program: Pillow hands PostScript to Ghostscript, whatever
# the file is called. A stranger's image must not start an interpreter.
_REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}


@cache
def load_formats() -> None:
    """Make Pillow know all formats that it can read here."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


@cache
def pillow_formats() -> tuple[str, ...]:
    """Return the names of the formats that may be opened."""
    load_formats()
    return tuple(kind for kind in Image.ID if kind not in _REFUSED)


def open_formats() -> set[str]:
    """Return the endings of files that Pillow can open, in lower case, with their dots."""
    load_formats()
    return {ext for ext, kind in Image.registered_extensions().items() if kind in Image.OPEN}
