"""Frames that a DICOM file holds: what its header says is believed as far as the pixels go."""

import io
import os
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

# Elements that say how long a frame is.
SIZES = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation")

# Transfer syntaxes without compression, but for the deflated one, whose length says nothing.
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "")
_DEFLATED = "1.2.840.10008.1.2.1.99"

_FEW = 100

_ITEM = b"\xfe\xff\x00\xe0"
_UNKNOWN = 0xFFFFFFFF


def frames_held(source: bytes | Path, found: Mapping[str | int, str], declared: int) -> int:
    """Number of frames of which a file may hold something, at most those that it declares.

    Uncompressed, all of them have to be there: else it is 1, and that one cannot be read.
    Compressed, it is one more than the pieces that there are, if that is fewer: the last one
    cannot be read, and says that something is missing. A few frames are believed as they are: of
    a file that was cut off, each is missed.

    Parameters
    ----------
    source : path, or the file's bytes
    found : mapping
        `SIZES` and TransferSyntaxUID, as `header.read_elements` gives them.
    declared : int
        More than 1.
    """
    syntax = found["TransferSyntaxUID"]
    if declared <= _FEW or syntax == _DEFLATED:
        return declared
    if syntax in _NATIVE:
        bits = _frame_bits(found)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return declared if bits and declared * bits <= 8 * size else 1
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        pieces = _count_pieces(file)
    return declared if pieces is None else min(declared, pieces + 1)


def _frame_bits(found: Mapping[str | int, str]) -> int:
    """Bits of a frame; 0: not known."""
    bits = 1
    for name in SIZES[:4]:
        bits *= int(found[name]) if found[name].isdecimal() and len(found[name]) < 6 else 0
    # Of two neighbours, one colour is stored once.
    return bits * 2 // 3 if found[SIZES[4]].endswith("422") else bits


def _count_pieces(file: BinaryIO) -> int | None:
    """Number of the pieces of a compressed file's pixels; None: they cannot be told."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmread(file, force=True, stop_before_pixels=True, specific_tags=[])
    # Tag, VR, two bytes without meaning, and a length that is not known.
    head = file.read(12)
    if len(head) < 12 or struct.unpack_from("<I", head, 8)[0] != _UNKNOWN:
        return None
    here, count = file.tell(), 0
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    while len(item := file.read(8)) == 8 and item[:4] == _ITEM:
        file.seek(struct.unpack_from("<I", item, 4)[0], os.SEEK_CUR)
        # A piece that begins in the file counts; the first is a table of offsets.
        count += 1
        if file.tell() > size:
            break
    return max(0, count - 1)
