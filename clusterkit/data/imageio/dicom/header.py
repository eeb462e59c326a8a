"""Header of a DICOM file: read with pydicom, within bounds, into plain values."""

import io
import re
import warnings
import zlib
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = "pip install 'clusterkit[dicom]'"

DEFLATED = "1.2.840.10008.1.2.1.99"

# Bytes that hold a file's meta header, which names the transfer syntax.
_HEAD = 2000
_LONGEST = 200

# Bytes that any deflated file may inflate to; to these, 20 times its own size is added.
_INFLATED = 100_000_000


def is_dicom(head: bytes) -> bool:
    """Return True where a file is DICOM, by its first 132 bytes.

    A file without preamble is recognised where it opens with an element of group 2 or 8.
    """
    if head[128:132] == b"DICM":
        return True
    # Group 0002 or 0008, an even small element number, and then a VR or a short length.
    if head[:2] not in (b"\x02\0", b"\x08\0") or len(head) < 8 or head[3] != 0:
        return False
    return bool(re.match(rb"[A-Z]{2}", head[4:6])) or int.from_bytes(head[4:8], "little") < 1024


def read_dataset(source: bytes | Path, max_bytes: int, **options: Any) -> "Dataset":
    """Data set of a file, or of its bytes; `options` go to `pydicom.dcmread`.

    The size that a deflated file inflates to is checked where its bytes are given, not its path.

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
            return dcmread(io.BytesIO(_inflated(source, max_bytes)), force=True, **options)
        return dcmread(source, force=True, **options)


def pixel_description(dataset: "Dataset") -> "Dataset":
    """Elements of group 0028, which describe the pixels, as a data set of their own.

    A copy of a data set, or a part of one, shares its elements: what is set in it changes both.
    """
    own = deepcopy(dataset.group_dataset(0x0028))
    own.file_meta = dataset.file_meta
    own.set_original_encoding(*dataset.original_encoding)
    return own


def read_elements(
    source: bytes | Path, max_bytes: int, tags: list[str | int]
) -> dict[str | int, str] | None:
    """Elements of a file, or of its bytes, without pixels; None: it is no DICOM file.

    Returns
    -------
    dict or None
        From `tags` to their values, each on one line of at most 200 characters; "" where absent.

    Raises
    ------
    ImageError
        As `read_dataset`, or the header is damaged.
    """
    if isinstance(source, Path):
        # A pipe would block for ever.
        head = _head_of(source) if source.is_file() else b""
    else:
        head = source[:_HEAD]
    if not is_dicom(head):
        return None
    syntax, end = _meta(head)
    if isinstance(source, Path) and (syntax == DEFLATED or end >= len(head)):
        # A deflated header can be anywhere in the file; of others only the beginning is read.
        source = source.read_bytes()
    options = {"stop_before_pixels": True, "specific_tags": tags}
    try:
        dataset = read_dataset(source, max_bytes, **options)
        found = {tag: _text(dataset[tag].value) if tag in dataset else "" for tag in tags}
        # It stands in the meta header, which is no part of the data set.
        return found | {"TransferSyntaxUID": syntax} if "TransferSyntaxUID" in tags else found
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM header ({short(error)})") from error


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def frames_of(header: "Dataset | dict") -> int:
    """Number of frames that a header declares, at least 1.

    >>> [frames_of({"NumberOfFrames": n}) for n in ("12", None, "many")]
    [12, 1, 1]
    """
    try:
        return max(1, int(str(header.get("NumberOfFrames"))))
    except ValueError:
        return 1


def _text(value: object) -> str:
    """Value of an element as printable text on one line."""
    text = "" if value is None else " ".join(str(value).split())
    return "".join(c for c in text if c.isprintable())[:_LONGEST]


def short(error: BaseException) -> str:
    """Name of an error's type alone: a library's message may quote the header, even a name."""
    return type(error).__name__


def _inflated(data: bytes, max_bytes: int) -> bytes:
    """Data set of a deflated file, inflated within bounds; other files as they are.

    pydicom would inflate it whole: a few kilobytes could become gigabytes.
    """
    syntax, start = _meta(data)
    if syntax != DEFLATED:
        return data
    most = min(max_bytes, _INFLATED + 20 * len(data))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data[start:], most + 1)
    if len(plain) > most:
        raise ImageError(f"deflated, and larger than {most:,} bytes when inflated")
    # Without a meta header, pydicom takes it rightly for explicit VR, little endian.
    return plain


def _meta(data: bytes) -> tuple[str, int]:
    """Transfer syntax that group 0002 names, and the place where the group ends.

    The group is explicit VR, little endian (PS3.10 7.1); its own length is not relied upon.
    """
    place, syntax = 132 if data[128:132] == b"DICM" else 0, ""
    while data[place : place + 2] == b"\x02\0" and place + 8 <= len(data):
        if data[place + 4 : place + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ"):
            begin, length = place + 12, int.from_bytes(data[place + 8 : place + 12], "little")
        else:
            begin, length = place + 8, int.from_bytes(data[place + 6 : place + 8], "little")
        if data[place + 2 : place + 4] == b"\x10\0":
            syntax = data[begin : begin + length].rstrip(b"\0 ").decode("ascii", "replace")
        place = begin + length
    return syntax, place
