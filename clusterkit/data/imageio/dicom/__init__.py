"""DICOM files: frames decoded to the picture that a viewer would show.

The order is the standard's (PS3.3 C.11, PS3.4 N.2): stored values → modality LUT or rescale →
VOI LUT or window → 8 bits; MONOCHROME1 is inverted; palettes and YCbCr become RGB. In enhanced
files, rescale and window come from the frame's functional groups. Padding (PixelPaddingValue) is
black and counts for no range. A compressed stream that says its colours is believed before the
header. Overlays are not drawn. pydicom and its plug-ins decode. Frames deflated one by one, 1-bit
RLE and files without a meta header, which they do not know, are prepared for them.
"""

import warnings
from typing import Any

import numpy as np
from PIL import Image

from clusterkit.config import ImageConfig
from clusterkit.data.imageio.dicom.header import frames_of, is_dicom, read_dataset, read_elements
from clusterkit.data.imageio.dicom.picture import render
from clusterkit.data.imageio.dicom.values import check_header, stored_values
from clusterkit.errors import ImageError

__all__ = ["frames_of", "is_dicom", "read_dataset", "read_elements", "read_frame"]

# The last file of several frames: its bytes, and the data set parsed from them.
_last: list[Any] = []


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
        The file has no pixel data, is too large or truncated, its window has no width, or its
        decoder is not installed.
    """
    dataset = _parse(data, max_bytes)
    check_header(dataset, frame, max_pixels)
    if frames_of(dataset) > len(data):
        raise ImageError("NumberOfFrames is more than the file can hold")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        values = stored_values(dataset, frame)
        return render(dataset, frame, values, how)


def _parse(data: bytes, max_bytes: int) -> Any:
    """Data set of a file; that of the last call where the bytes are the very same object.

    Frames follow each other, and parsing copies all their pixels.
    """
    if _last and _last[0] is data:
        return _last[1]
    dataset = read_dataset(data, max_bytes)
    _last[:] = [data, dataset] if frames_of(dataset) > 1 else []
    return dataset
