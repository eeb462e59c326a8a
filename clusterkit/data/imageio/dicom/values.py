"""Stored values of a frame: decoded by pydicom and its plug-ins, two rare encodings by hand."""

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from clusterkit.data.imageio.bands import by_rows
from clusterkit.data.imageio.budget import check_work
from clusterkit.data.imageio.dicom.codestreams import check_codestream
from clusterkit.data.imageio.dicom.header import (
    DEFLATED,
    INSTALL,
    frames_of,
    pixel_description,
    short,
)
from clusterkit.data.imageio.dicom.stream_colour import as_stored, colour_of, is_jpeg, one_frame
from clusterkit.data.imageio.films import film_of_syntax
from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)
# Not in pydicom's dictionary.
_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    _DEFLATED_FRAMES: "Deflated Image Frame Compression",
}
# The pixels of these are not in the file.
_ELSEWHERE = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204",
              "1.2.840.10008.1.2.4.205")  # fmt: skip

# Bytes a pixel: the file's own, those that its decoder makes of them, and the picture.
_OF_GREYS, _OF_COLOURS = 11, 16
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def check_header(dataset: "Dataset", frame: int, max_pixels: int) -> None:
    """Refuse a header that cannot describe a picture, before anything is decoded.

    Raises
    ------
    ImageError
        No pixel data, no such frame, no size or more than `max_pixels`, or values of no meaning.
    """
    syntax = _transfer_syntax(dataset)
    if film := film_of_syntax(syntax):
        raise ImageError(film)
    if syntax in _ELSEWHERE:
        raise ImageError(f"its pixels are on a server ({_name_of(syntax)}), not in the file")
    if not any(name in dataset for name in _PIXELS):
        raise ImageError("no pixel data: a report, a directory, or cut off")
    rows, columns = (_whole(dataset, name) for name in ("Rows", "Columns"))
    if rows * columns > max_pixels:
        raise ImageError(f"{columns}x{rows} is more than {max_pixels:,} pixels")
    check_work(columns, rows, _OF_GREYS if _samples(dataset) == 1 else _OF_COLOURS, "DICOM")
    if "PhotometricInterpretation" not in dataset:
        raise ImageError("no PhotometricInterpretation: what the values mean is not known")
    n_frames = frames_of(dataset)
    if frame >= n_frames:
        raise ImageError(f"frame {frame} does not exist: the file has {n_frames}, from 0")


def _samples(dataset: "Dataset") -> object:
    return dataset.get("SamplesPerPixel", 1)


def _whole(dataset: "Dataset", name: str) -> int:
    value = dataset.get(name)
    if not isinstance(value, int) or value < 1:
        raise ImageError(f"{name} is not a whole number of at least 1")
    return value


def stored_values(dataset: "Dataset", frame: int) -> np.ndarray:
    """Stored values of a frame, (H, W) or (H, W, 3), YCbCr as RGB.

    Raises
    ------
    ImageError
        The stream is damaged, larger than its header says, or needs a decoder that is not
        installed.
    """
    syntax = _transfer_syntax(dataset)
    if syntax in _NATIVE:
        return _decoded(dataset, frame, syntax)
    if syntax != _DEFLATED_FRAMES:
        _check_decoder(syntax)
    coded = _encapsulated(dataset, frame)
    if syntax == _DEFLATED_FRAMES:
        return _inflate_frame(dataset, coded)
    if syntax == _RLE:
        bits = dataset.BitsAllocated == 1
        return _rle_bits(dataset, frame) if bits else _decoded(dataset, frame, syntax)
    # The size in the header was checked; the compressed stream has a size of its own.
    samples = _whole(dataset, "SamplesPerPixel")
    check_codestream(coded, dataset.Columns, dataset.Rows, samples, _name_of(syntax))
    return _coloured(dataset, frame, coded, syntax) if samples == 3 else (
        _decoded(dataset, frame, syntax))  # fmt: skip


def _coloured(dataset: "Dataset", frame: int, coded: bytes, syntax: str) -> np.ndarray:
    """Values (H, W, 3) of a compressed frame in RGB, whatever its header says of them."""
    from pydicom.pixels.processing import convert_color_space

    said = str(dataset.PhotometricInterpretation)
    colour = colour_of(coded, syntax, said)
    if is_jpeg(syntax):
        values = _decoded(as_stored(dataset, coded, colour), 0, syntax, raw=True)
        ycc = colour.startswith("YBR")
        if not ycc:
            return values
        return by_rows(values, lambda part: convert_color_space(part, "YBR_FULL", "RGB"))
    if colour == said:
        return _decoded(dataset, frame, syntax)
    return _decoded(one_frame(dataset, coded, colour), 0, syntax)


def _check_decoder(syntax: str) -> None:
    """Refuse a transfer syntax for which pydicom has no decoder at all."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        get_decoder(UID(syntax))
    except NotImplementedError:
        raise ImageError(f"compressed as {_name_of(syntax)}, which no decoder here reads; convert "
                         "it to an uncompressed file or to JPEG 2000") from None  # fmt: skip


def _name_of(syntax: str) -> str:
    from pydicom.uid import UID

    return _NAMES.get(syntax) or UID(syntax).name


def _decoded(dataset: "Dataset", frame: int, syntax: str, raw: bool = False) -> np.ndarray:
    """Values as pydicom decodes them; all that it or a plug-in raises becomes a reason."""
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(dataset, index=frame, raw=raw)
    except (RuntimeError, NotImplementedError) as error:
        raise ImageError(_missing_decoder(syntax, str(error))) from error
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM ({short(error)})") from error
    except BaseException as error:
        # A plug-in in Rust panics on damaged data, and its panic is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ImageError("damaged or truncated DICOM (PanicException)") from None


def _transfer_syntax(dataset: "Dataset") -> str:
    """Transfer syntax; where the file has none, the uncompressed one by which it was parsed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return str(dataset.file_meta.TransferSyntaxUID)


def _encapsulated(dataset: "Dataset", frame: int) -> bytes:
    from pydicom.encaps import get_frame

    try:
        return get_frame(dataset.PixelData, frame, number_of_frames=frames_of(dataset))
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM ({short(error)})") from error


def _inflate_frame(dataset: "Dataset", coded: bytes) -> np.ndarray:
    """Values of Deflated Image Frame Compression (PS3.5 A.4.14), which pydicom does not know."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    bits = _whole(dataset, "SamplesPerPixel") * _whole(dataset, "BitsAllocated")
    size = -(-dataset.Rows * dataset.Columns * bits // 8)
    plain = inflater.decompress(coded, size + 2)
    if len(plain) > size + 1:
        raise ImageError("the deflated frame is larger than its header says")
    return _native(dataset, plain)


def _rle_bits(dataset: "Dataset", frame: int) -> np.ndarray:
    """Values of 1-bit RLE (PS3.5 G), decoded as one row of bytes that are then unpacked."""
    from pydicom import Dataset
    from pydicom.pixels.utils import unpack_bits

    pixels = dataset.Rows * dataset.Columns
    packed = Dataset()
    packed.file_meta = dataset.file_meta
    packed.Rows, packed.Columns, packed.SamplesPerPixel = 1, -(-pixels // 8), 1
    packed.BitsAllocated = packed.BitsStored = 8
    packed.PixelRepresentation, packed.PhotometricInterpretation = 0, "MONOCHROME2"
    packed.NumberOfFrames = frames_of(dataset)
    packed.PixelData = dataset.PixelData
    packed["PixelData"].VR = "OB"
    found = _decoded(packed, frame, _RLE)
    bits = np.asarray(unpack_bits(found.tobytes()))
    return bits[:pixels].reshape(dataset.Rows, dataset.Columns)


def _native(dataset: "Dataset", plain: bytes) -> np.ndarray:
    """Values that pydicom reads from one frame's bytes as if they had never been compressed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    single = pixel_description(dataset)
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    single.NumberOfFrames, single.PixelData = 1, plain + b"\0" * (len(plain) % 2)
    return _decoded(single, 0, _DEFLATED_FRAMES)


def _missing_decoder(syntax: str, error: str) -> str:
    """Reason, in the user's words, of an error of pydicom about its decoders."""
    name = _name_of(syntax)
    if "missing dependencies" in error or "not installed" in error:
        wanted = sorted(set(re.findall(r"pylibjpeg-\w+|python-gdcm|pyjpegls", error)))
        plug_ins = f" (it uses {' or '.join(wanted)})" if wanted else ""
        return f"needs a decoder for {name} that is not installed: {INSTALL}{plug_ins}"
    if "not supported" in error:
        return f"compressed as {name}, which no decoder reads"
    return f"no picture that a decoder for {name} reads: damaged, or of a variant of it"
