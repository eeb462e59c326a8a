"""Why an image cannot be read: one line, whatever a reader raised."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from clusterkit.data.imageio import dicom
from clusterkit.data.imageio.budget import MAX_PIXELS
from clusterkit.data.imageio.films import film_of_bytes
from clusterkit.data.time_limit import SECONDS, TimeUpError
from clusterkit.errors import ImageError, StoreError, shown

# Characters: a reason is a cell of a table.
_LONGEST, _QUOTED = 200, 120


def reason_of(error: BaseException, data: bytes = b"") -> str:
    """Reason, of one line and at most 200 characters, why an image cannot be read.

    The many readers raise anything on damaged files, failed assertions and struct.error among
    them; one bad image must never stop a batch.

    Parameters
    ----------
    error : exception
        What was raised while the image was worked on.
    data : bytes
        Of the image's file, as far as they are known.

    Raises
    ------
    BaseException
        The same error, where it is none of a reader's but an order to stop, such as Ctrl-C, or a
        store that does not answer any more.
    """
    if isinstance(error, TimeUpError):
        return f"takes more than {SECONDS:.0f} s of processor time to read"
    # A plug-in in Rust panics on damaged data, and its panic is no Exception.
    stops = not isinstance(error, Exception) and type(error).__name__ != "PanicException"
    if stops or isinstance(error, StoreError):
        raise error
    if isinstance(error, ImageError):
        return _line(error, _LONGEST)
    if isinstance(error, UnidentifiedImageError):
        return _unknown(data)
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels: save a smaller copy"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    # Of DICOM, a library's words may quote the header.
    words = "" if dicom.is_dicom(data[:132]) else _line(error, _QUOTED)
    return f"damaged or truncated image: {words or type(error).__name__}"


@contextmanager
def reasons(data: bytes) -> Iterator[None]:
    """Make an `ImageError` of whatever is raised while an image of these bytes is worked on."""
    try:
        yield
    except ImageError:
        raise
    except BaseException as error:
        raise ImageError(reason_of(error, data)) from error


def _line(error: BaseException, limit: int) -> str:
    return shown(" ".join(str(error).split()), limit)


def _unknown(data: bytes) -> str:
    """Reason for bytes that Pillow does not know."""
    if film := film_of_bytes(data[:16]):
        return film
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "a NIfTI volume, which is not read: save its slices as images or DICOM"
    return "not an image that Pillow can read"
