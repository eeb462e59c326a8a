"""DICOM: from a file's bytes and a frame's number to the picture that a viewer would show.

The order is the standard's (PS3.3 C.11, PS3.4 N.2): stored values → modality LUT or rescale →
VOI LUT or window → 8 bits; MONOCHROME1 is inverted; palettes and YCbCr become RGB. In enhanced
files, rescale and window come from the frame's functional groups. Overlays are not drawn. pydicom
and its plug-ins decode; what they lack (frames deflated one by one, 1-bit RLE, a file without its
meta header) is prepared so that they can.
"""

import io
import re
import warnings
import zlib
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clusterkit.config import ImageConfig
from clusterkit.data.codestreams import check_codestream
from clusterkit.data.greys import scale, to_bytes, window_of
from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = "pip install 'clusterkit[dicom]'"

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
# So many bytes hold a file's meta header, which names the transfer syntax.
_HEAD = 2000
_LONGEST = 200
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", _DEFLATED)

# The last file of several frames: its bytes, and what was parsed of them.
_last: list = []

# What the standard lets stand for each frame, and its place in a frame's functional groups.
_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


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
        data = head + file.read() if _DEFLATED.encode() in head else None
    options = {"stop_before_pixels": True, "specific_tags": tags}
    try:
        dataset = read_dataset(path if data is None else data, max_bytes, **options)
        return {tag: _text(dataset[tag].value) if tag in dataset else "" for tag in tags}
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM header: {_short(error)}") from error


def read_frame(
    data: bytes, frame: int, how: ImageConfig, max_pixels: int, max_bytes: int
) -> Image.Image:
    """Decode one frame to an image of mode L or RGB.

    Parameters
    ----------
    data : bytes
        The file's contents.
    frame : int ≥ 0
    how : ImageConfig
        `window` (for grey images: instead of the file's own) and `percentiles` (for those
        without any window).
    max_pixels, max_bytes : int
        Beyond these a file is refused before anything is decoded.

    Raises
    ------
    ImageError
        With a reason: no pixel data, too large, truncated, a window of no width, a decoder that is
        not installed.
    """
    dataset = _parse(data, max_bytes)
    _check(dataset, frame, max_pixels)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        values = _values(dataset, frame, max_bytes)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return _palette(dataset, values)
        if values.ndim == 3:
            return _colour(dataset, values)
        return Image.fromarray(_grey(_own_view(dataset, frame), values, how))


def _parse(data: bytes, max_bytes: int) -> "Dataset":
    """Parse a file, or return what the last call made of the very same bytes.

    Frames follow each other, and parsing copies all their pixels.
    """
    if _last and _last[0] is data:
        return _last[1]
    dataset = read_dataset(data, max_bytes)
    _last[:] = [data, dataset] if frames_of(dataset.get("NumberOfFrames")) > 1 else []
    return dataset


def frames_of(declared: object) -> int:
    """Return the number of frames that NumberOfFrames declares, at least 1.

    >>> frames_of("12"), frames_of(None), frames_of("many")
    (12, 1, 1)
    """
    try:
        return max(1, int(str(declared)))
    except ValueError:
        return 1


def _check_deflated(data: bytes, max_bytes: int) -> None:
    # pydicom inflates the whole data set at once: a few kilobytes could become gigabytes.
    if _DEFLATED.encode() not in data[:_HEAD]:
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


def _check(dataset: "Dataset", frame: int, max_pixels: int) -> None:
    if not any(name in dataset for name in _PIXELS):
        kind = str(dataset.get("Modality") or "") or "unknown"
        raise ImageError(f"no pixel data (modality {kind}): a report, a directory, or cut off")
    rows, columns = (_whole(dataset, name) for name in ("Rows", "Columns"))
    if rows * columns > max_pixels:
        raise ImageError(f"{columns}x{rows} is more than {max_pixels:,} pixels")
    if "PhotometricInterpretation" not in dataset:
        raise ImageError("no PhotometricInterpretation: what the values mean is not known")
    n_frames = frames_of(dataset.get("NumberOfFrames"))
    if frame >= n_frames:
        raise ImageError(f"frame {frame} does not exist: the file has {n_frames}, from 0")


def _whole(dataset: "Dataset", name: str) -> int:
    value = dataset.get(name)
    if not isinstance(value, int) or value < 1:
        raise ImageError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return value


def _values(dataset: "Dataset", frame: int, max_bytes: int) -> np.ndarray:
    """Return a frame's stored values, (H, W) or (H, W, 3), YCbCr as RGB."""
    syntax = _transfer_syntax(dataset)
    if syntax not in _NATIVE:
        _check_frame(dataset, frame, syntax)
    own = _OWN.get(syntax, lambda d, f, m: None)(dataset, frame, max_bytes)
    if own is not None:
        return own
    from pydicom.pixels import pixel_array

    try:
        return pixel_array(dataset, index=frame)
    except (RuntimeError, NotImplementedError) as error:
        raise ImageError(_missing_decoder(syntax, str(error))) from error
    except BaseException as error:
        # A plug-in in Rust panics on damaged data, and its panic is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ImageError(f"damaged or truncated DICOM: {_short(error)}") from None


def _transfer_syntax(dataset: "Dataset") -> str:
    """Return the transfer syntax; where it is not said, the uncompressed one that parsed."""
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

    return get_frame(
        dataset.PixelData, frame, number_of_frames=frames_of(dataset.get("NumberOfFrames"))
    )


def _check_frame(dataset: "Dataset", frame: int, syntax: str) -> None:
    try:
        coded = _encapsulated(dataset, frame)
    except Exception as error:
        raise ImageError(f"damaged or truncated DICOM: {_short(error)}") from error
    # What the header declares was checked; the compressed stream has a size of its own.
    check_codestream(coded, dataset.Columns, dataset.Rows)


def _inflate_frame(dataset: "Dataset", frame: int, max_bytes: int) -> np.ndarray:
    """Decode Deflated Image Frame Compression (PS3.5 A.4.14), which pydicom does not know."""
    coded = _encapsulated(dataset, frame)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(coded, max_bytes)
    return _native(dataset, plain)


def _rle_bits(dataset: "Dataset", frame: int, max_bytes: int) -> np.ndarray | None:
    """Decode 1-bit RLE as bytes, a row of them, and take the bits apart (PS3.5 G)."""
    if dataset.BitsAllocated != 1:
        return None
    from pydicom import Dataset
    from pydicom.pixels import pixel_array
    from pydicom.pixels.utils import unpack_bits

    pixels = dataset.Rows * dataset.Columns
    packed = Dataset()
    packed.file_meta = dataset.file_meta
    packed.Rows, packed.Columns, packed.SamplesPerPixel = 1, -(-pixels // 8), 1
    packed.BitsAllocated = packed.BitsStored = 8
    packed.PixelRepresentation, packed.PhotometricInterpretation = 0, "MONOCHROME2"
    packed.NumberOfFrames = frames_of(dataset.get("NumberOfFrames"))
    packed.PixelData = dataset.PixelData
    packed["PixelData"].VR = "OB"
    found = pixel_array(packed, index=frame)
    return unpack_bits(found.tobytes())[:pixels].reshape(dataset.Rows, dataset.Columns)


_OWN: dict[str, Callable[["Dataset", int, int], np.ndarray | None]] = {
    _DEFLATED_FRAMES: _inflate_frame,
    _RLE: _rle_bits,
}


def _native(dataset: "Dataset", plain: bytes) -> np.ndarray:
    """Let pydicom read one frame's bytes as if they had never been compressed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRLittleEndian

    single = copy(dataset)
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    single.NumberOfFrames, single.PixelData = 1, plain + b"\0" * (len(plain) % 2)
    return pixel_array(single, index=0)


def _missing_decoder(syntax: str, error: str) -> str:
    from pydicom.uid import UID

    name = UID(syntax).name
    if "missing dependencies" in error or "not installed" in error:
        wanted = sorted(set(re.findall(r"pylibjpeg-\w+|python-gdcm|pyjpegls", error)))
        plug_ins = f" (it uses {' or '.join(wanted)})" if wanted else ""
        return f"needs a decoder for {name} that is not installed: {INSTALL}{plug_ins}"
    if "not supported" in error:
        return f"compressed as {name}, which no decoder reads"
    return f"damaged, or of a kind that no decoder reads ({name}): {_short(error)}"


def _text(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return "".join(c for c in text if c.isprintable())[:_LONGEST]


def _short(error: BaseException | str) -> str:
    return " ".join(str(error).split())[:160]


def _own_view(dataset: "Dataset", frame: int) -> "Dataset":
    """Return the elements that turn values into a picture, as they hold for one frame."""
    from pydicom import Dataset

    view = Dataset()
    for name in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation",
                 "ModalityLUTSequence", *sum(_GROUPS.values(), ())):  # fmt: skip
        if name in dataset:
            view[name] = dataset[name]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in [*shared[:1], *each[frame : frame + 1]]:
        for sequence, names in _GROUPS.items():
            for item in (groups.get(sequence) or [])[:1]:
                for name in (n for n in names if n in item):
                    view[name] = item[name]
    return view


def _grey(view: "Dataset", values: np.ndarray, how: ImageConfig) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    real, exact = apply_modality_lut(values, view), values.dtype.kind == "f"
    chosen = window_of(how.window)
    if chosen is None and view.get("VOILUTSequence"):
        grey = scale(apply_voi_lut(real, view), *_lut_range(view.VOILUTSequence[0]))
    elif chosen is None and None not in (view.get("WindowCenter"), view.get("WindowWidth")):
        grey = _windowed(view, real, exact)
    elif chosen is None and (top := _declared_top(view, values, how)):
        grey = scale(values, 0, top)
    else:
        grey = to_bytes(real, chosen, how.percentiles, exact)
    return 255 - grey if view.PhotometricInterpretation == "MONOCHROME1" else grey


def _declared_top(view: "Dataset", values: np.ndarray, how: ImageConfig) -> int | None:
    """Return what becomes white in unsigned values without any unit or window; None: not such.

    The full range of the bits stored, halved for as long as the image fits: a picture that uses
    its bits looks as it was stored, whatever its own darkest and brightest places are, and one
    that uses a few of them is still seen.
    """
    plain = view.get("RescaleSlope") in (None, 1) and view.get("RescaleIntercept") in (None, 0)
    if values.dtype.kind not in "ub" or not plain or "ModalityLUTSequence" in view:
        return None
    if list(how.percentiles) != [0, 100]:
        return None
    used = int(values.max()).bit_length()
    return 2 ** max(1, min(used, int(view.get("BitsStored", 16)))) - 1


def _windowed(view: "Dataset", real: np.ndarray, exact: bool) -> np.ndarray:
    """Apply the file's first window; its edges become 0 and 255, whatever the image fills."""
    from pydicom import Dataset
    from pydicom.pixels import apply_windowing

    # pydicom spreads the window over the range of the stored type: a plain one is told here.
    plain = Dataset()
    plain.BitsStored, plain.PixelRepresentation = 8, 0
    for name in ("WindowCenter", "WindowWidth", "VOILUTFunction", "PhotometricInterpretation"):
        if name in view:
            plain[name] = view[name]
    if exact and plain.get("VOILUTFunction", "LINEAR") == "LINEAR":
        # LINEAR counts whole steps: on values that are fractions it would be a step.
        plain.VOILUTFunction = "LINEAR_EXACT"
    try:
        return scale(apply_windowing(real, plain), 0, 255)
    except ValueError as error:
        raise ImageError(f"the file's window has the width {view.WindowWidth}: {_short(error)}; "
                         "image.window in the config replaces it") from error  # fmt: skip


def _lut_range(lut: "Dataset") -> tuple[float, float]:
    return 0.0, float(2 ** int(lut.LUTDescriptor[2]) - 1)


def _palette(dataset: "Dataset", values: np.ndarray) -> Image.Image:
    from pydicom.pixels import apply_color_lut

    coloured = apply_color_lut(values, _palette_of(dataset))[..., :3]
    return Image.fromarray(scale(coloured, 0, np.iinfo(coloured.dtype).max))


def _palette_of(dataset: "Dataset") -> "Dataset":
    # pydicom reads a plain table as little-endian whatever the file is; segmented ones it turns.
    if dataset.original_encoding[1] is not False:
        return dataset
    turned = copy(dataset)
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTableData"
        table = dataset.get(name)
        entries = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value[0] or 2**16
        if isinstance(table, bytes) and len(table) == 2 * entries:
            turned[name] = deepcopy(dataset[name])
            turned[name].value = np.frombuffer(table, dtype=">u2").astype("<u2").tobytes()
    return turned


def _colour(dataset: "Dataset", values: np.ndarray) -> Image.Image:
    if values.dtype == np.uint8 and dataset.BitsStored == 8:
        return Image.fromarray(np.ascontiguousarray(values[..., :3]))
    # All channels by one range, the declared one, so that colours keep their hue.
    return Image.fromarray(scale(values[..., :3], 0, 2 ** int(dataset.BitsStored) - 1))
