"""A DICOM file's header: read with pydicom, within bounds, into plain values."""

import io
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = "pip install 'clusterkit[dicom]'"

DEFLATED = "1.2.840.10008.1.2.1.99"

# So many bytes hold a file's meta header, which names the transfer syntax.
_HEAD = 2000
_LONGEST = 200


def is_dicom(head: bytes) -> bool:
    """Tell from the first 132 bytes whether a file is DICOM.

    A file without preamble is recognised where it opens with an element of group 2 or 8.
    """
    if head[128:132] == b"DICM":
        return True
    # Group 0002 or 0008, an even small element number, and then a VR or a short length.
    if head[:2] not in (b"\x02\0", b"\x08\0") or len(head) < 8 or head[3] != 0:
        return False
    return bool(re.match(rb"[A-Z]{2}", head[4:6])) or int.from_bytes(head[4:8], "little") < 1024


def read_dataset(source: bytes | Path, max_bytes: int, **options) -> "Dataset":
    """Parse a file, or its bytes; `options` go to `pydicom.dcmread`.

    The size of what a deflated file inflates to is checked in bytes only: give those.

    Raises
    ------
    ImageError
        pydicom is not installed, or the deflated data set is larger than `max_bytes`.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ImageError(f"a DICOM file, which needs pydicom: {INSTALL}") from None
    with warnings.catch_warnings():
        # Odd values are common in real headers; what matters is checked where it is used.
        warnings.simplefilter("ignore")
        if isinstance(source, bytes):
            _check_deflated(source, max_bytes)
            source = io.BytesIO(source)
        return dcmread(source, force=True, **options)


def read_elements(path: Path, max_bytes: int, tags: list[str | int]) -> dict[str | int, str] | None:
    """Read some elements of a file without its pixels; None: it is no DICOM file.

    Returns
    -------
    dict from the tags asked for to their values on one line of at most 200 characters; "" where
    absent.

    Raises
    ------
    ImageError
        As `read_dataset`, or the header is damaged.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not is_dicom(head):
            return None
        # A deflated header can be anywhere in the file; of others only the beginning is read.
        data = head + file.read() if DEFLATED.encode() in head else None
    options = {"stop_before_pixels": True, "specific_tags": tags}
    try:
        dataset = read_dataset(path if data is None else data, max_bytes, **options)
        return {tag: _text(dataset[tag].value) if tag in dataset else "" for tag in tags}
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM header: {short(error)}") from error


def frames_of(declared: object) -> int:
    """Return the number of frames that NumberOfFrames declares, at least 1.

    >>> frames_of("12"), frames_of(None), frames_of("many")
    (12, 1, 1)
    """
    try:
        return max(1, int(str(declared)))
    except ValueError:
        return 1


def _text(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return "".join(c for c in text if c.isprintable())[:_LONGEST]


def short(error: BaseException | str) -> str:
    """Return an error on one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]


def _check_deflated(data: bytes, max_bytes: int) -> None:
    # pydicom inflates the whole data set at once: a few kilobytes could become gigabytes.
    if DEFLATED.encode() not in data[:_HEAD]:
        return
    meta = 132 if data[128:132] == b"DICM" else 0
    # (0002,0000) holds the length of the rest of the meta header.
    if data[meta : meta + 4] != b"\x02\0\0\0":
        raise ImageError("a deflated DICOM file whose meta header does not say its own length")
    start = meta + 12 + int.from_bytes(data[meta + 8 : meta + 12], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total, rest = 0, data[start:]
    while rest and not inflater.eof:
        total += len(inflater.decompress(rest, 16_000_000))
        rest = inflater.unconsumed_tail
        if total > max_bytes:
            raise ImageError(f"deflated, and larger than {max_bytes:,} bytes when inflated")
