"""Stored values of a frame: decoded by pydicom and its plug-ins, two rare encodings by hand."""

import re
import zlib
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from clusterkit.data.imageio.dicom.codestreams import check_codestream
from clusterkit.data.imageio.dicom.header import DEFLATED, INSTALL, frames_of, short
from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def check_header(dataset: "Dataset", frame: int, max_pixels: int) -> None:
    """Refuse a header that cannot describe a picture, before anything is decoded.

    Raises
    ------
    ImageError
        No pixel data, no such frame, no size or more than `max_pixels`, or values of no meaning.
    """
    if not any(name in dataset for name in _PIXELS):
        raise ImageError("no pixel data: a report, a directory, or cut off")
    rows, columns = (_whole(dataset, name) for name in ("Rows", "Columns"))
    if rows * columns > max_pixels:
        raise ImageError(f"{columns}x{rows} is more than {max_pixels:,} pixels")
    if "PhotometricInterpretation" not in dataset:
        raise ImageError("no PhotometricInterpretation: what the values mean is not known")
    n_frames = frames_of(dataset)
    if frame >= n_frames:
        raise ImageError(f"frame {frame} does not exist: the file has {n_frames}, from 0")


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
    coded = _encapsulated(dataset, frame)
    if syntax == _DEFLATED_FRAMES:
        return _inflate_frame(dataset, coded)
    if syntax == _RLE:
        bits = dataset.BitsAllocated == 1
        return _rle_bits(dataset, frame) if bits else _decoded(dataset, frame, syntax)
    # The size in the header was checked; the compressed stream has a size of its own.
    samples = _whole(dataset, "SamplesPerPixel")
    check_codestream(coded, dataset.Columns, dataset.Rows, samples)
    return _decoded(dataset, frame, syntax)


def _decoded(dataset: "Dataset", frame: int, syntax: str) -> np.ndarray:
    """Values as pydicom decodes them; all that it or a plug-in raises becomes a reason."""
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(dataset, index=frame)
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

    single = copy(dataset)
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    single.NumberOfFrames, single.PixelData = 1, plain + b"\0" * (len(plain) % 2)
    return _decoded(single, 0, _DEFLATED_FRAMES)


def _missing_decoder(syntax: str, error: str) -> str:
    """Reason, in the user's words, of an error of pydicom about its decoders."""
    from pydicom.uid import UID

    name = UID(syntax).name
    if "missing dependencies" in error or "not installed" in error:
        wanted = sorted(set(re.findall(r"pylibjpeg-\w+|python-gdcm|pyjpegls", error)))
        plug_ins = f" (it uses {' or '.join(wanted)})" if wanted else ""
        return f"needs a decoder for {name} that is not installed: {INSTALL}{plug_ins}"
    if "not supported" in error:
        return f"compressed as {name}, which no decoder reads"
    return f"damaged, or of a kind that no decoder reads ({name})"
