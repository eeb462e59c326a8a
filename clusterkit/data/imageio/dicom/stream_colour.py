"""Colours of a compressed frame: by what its stream is where the header says something else."""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clusterkit.data.imageio.dicom.header import pixel_description

if TYPE_CHECKING:
    from pydicom import Dataset

# JPEG baseline and extended, and JPEG 2000 (with HTJ2K): the streams that say their colours.
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_J2K = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")  # fmt: skip

_START, _APP0, _APP14, _SCAN = 0xD8, 0xE0, 0xEE, 0xDA

# Adobe's marker (T.872 6.5.3) with transform 0: a decoder hands over what is stored.
_AS_STORED = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


def colour_of(coded: bytes, syntax: str, header: str) -> str:
    """Colour model of a stream of three components, "RGB" or as the header calls it.

    A JPEG is RGB or YCbCr by, in this order: subsampled chroma (only YCbCr has it), component
    ids R, G, B, Adobe's marker, a JFIF marker; else by the header. A JPEG 2000 stream that was
    transformed by its encoder (MCT) is RGB once it is decoded.

    Parameters
    ----------
    coded : bytes
        A whole stream.
    syntax : str
        Transfer syntax.
    header : str
        PhotometricInterpretation.
    """
    ycc = header if header.startswith("YBR") else "YBR_FULL"
    if syntax in _J2K:
        return "RGB" if _is_transformed(coded) else header
    if syntax not in _JPEG:
        return header
    markers = dict(reversed(list(_markers(coded))))
    frame = next((body for kind, body in markers.items() if kind in range(0xC0, 0xC4)), b"")
    parts = [frame[6 + 3 * n : 9 + 3 * n] for n in range(frame[5] if len(frame) > 5 else 0)]
    if len(parts) != 3 or any(len(part) < 3 for part in parts):
        return header
    if parts[0][1] != parts[1][1] or parts[0][1] != parts[2][1]:
        return ycc
    if bytes(part[0] for part in parts) in (b"RGB", b"rgb"):
        return "RGB"
    adobe = markers.get(_APP14, b"")
    if adobe.startswith(b"Adobe") and len(adobe) >= 12:
        return ycc if adobe[11] == 1 else "RGB"
    return ycc if markers.get(_APP0, b"").startswith(b"JFIF") else header


def as_stored(dataset: "Dataset", coded: bytes, colour: str) -> "Dataset":
    """Data set of one JPEG frame whose decoders leave its components as they are stored.

    Some convert by the stream's own markers, some do not.
    """
    parts, end = [b"\xff\xd8", _AS_STORED], 2
    for kind, body in _markers(coded):
        begin, end = end, end + 4 + len(body)
        while coded[begin + 1] != kind:
            # Any number of fill bytes may stand before a marker.
            begin, end = begin + 1, end + 1
        if kind == _SCAN:
            end = begin
            break
        if kind not in (_APP0, _APP14):
            parts.append(coded[begin:end])
    return one_frame(dataset, b"".join(parts) + coded[end:], colour)


def one_frame(dataset: "Dataset", coded: bytes, colour: str) -> "Dataset":
    """Data set of one compressed frame alone, of a colour model."""
    from pydicom.encaps import encapsulate

    single = pixel_description(dataset)
    single.NumberOfFrames, single.PhotometricInterpretation = 1, colour
    single.PixelData = encapsulate([coded + b"\0" * (len(coded) % 2)])
    single["PixelData"].is_undefined_length = True
    return single


def is_jpeg(syntax: str) -> bool:
    """Return True for lossy JPEG, whose decoders may convert colours by themselves."""
    return syntax in _JPEG


def _markers(coded: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers before the first scan, and what they hold; a damaged stream ends early."""
    place = 2
    while place + 4 <= len(coded) and coded[place] == 0xFF:
        kind = coded[place + 1]
        if kind == 0xFF:
            place += 1
            continue
        (length,) = struct.unpack_from(">H", coded, place + 2)
        yield kind, coded[place + 4 : place + 2 + length]
        if kind == _SCAN:
            return
        place += 2 + max(2, length)


def _is_transformed(coded: bytes) -> bool:
    """Return True where the coding style (COD) of a JPEG 2000 stream has a colour transform."""
    place = coded.find(b"\xff\x4f\xff\x51") + 2
    while place >= 2 and place + 9 <= len(coded) and coded[place] == 0xFF:
        kind, length = struct.unpack_from(">HH", coded, place)
        if kind == 0xFF52:
            return coded[place + 8] == 1
        if kind == 0xFF90:
            return False
        place += 2 + length
    return False
