"""Rendering of a frame: stored values to the greys or colours that a viewer would show."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clusterkit.config import ImageConfig
from clusterkit.data.imageio.bands import by_rows
from clusterkit.data.imageio.budget import check_work
from clusterkit.data.imageio.dicom.background import padding_of
from clusterkit.data.imageio.dicom.decimals import read_decimals
from clusterkit.data.imageio.dicom.header import pixel_description
from clusterkit.data.imageio.greys import own_range, scale, to_bytes, window_of
from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

# Bytes a pixel of values whose own range is looked for, all of them at once.
_OF_RANGE = 25

# Elements that the standard allows per frame, and their sequences in the functional groups.
_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
}


def render(dataset: "Dataset", frame: int, values: np.ndarray, how: ImageConfig) -> Image.Image:
    """Image of mode L or RGB from stored values (H, W) or (H, W, 3) of a frame.

    Raises
    ------
    ImageError
        The file's window has no width.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _palette(dataset, values)
    if values.ndim == 3:
        return _colour(dataset, values)
    padding = padding_of(dataset, values)
    grey = _grey(_own_view(dataset, frame, how), values, how, padding)
    if padding is not None:
        # Black as around every picture, in negatives (MONOCHROME1) too.
        grey[padding] = 0
    return Image.fromarray(grey)


def _own_view(dataset: "Dataset", frame: int, how: ImageConfig) -> "Dataset":
    """Elements that turn values into a picture, as they hold for one frame."""
    from pydicom import Dataset

    view = Dataset()
    # A table may be of words, which need the file's byte order.
    view.file_meta = dataset.file_meta
    view.set_original_encoding(*dataset.original_encoding)
    for name in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation",
                 "ModalityLUTSequence", *sum(_GROUPS.values(), ())):  # fmt: skip
        if name in dataset and not dataset[name].is_empty:
            view[name] = dataset[name]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in [*shared[:1], *each[frame : frame + 1]]:
        for sequence, names in _GROUPS.items():
            for item in (groups.get(sequence) or [])[:1]:
                for name in (n for n in names if n in item and not item[n].is_empty):
                    view[name] = item[name]
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if name in view and not ("LUTDescriptor" in view[name][0] and "LUTData" in view[name][0]):
            del view[name]
    if "RescaleSlope" not in view or "RescaleIntercept" not in view:
        for name in ("RescaleSlope", "RescaleIntercept"):
            view.pop(name, None)
    if window_of(how.window) is not None:
        # The file's own window is not asked, whatever stands there.
        for name in ("WindowCenter", "WindowWidth"):
            view.pop(name, None)
    read_decimals(view)
    return view


def _grey(
    view: "Dataset", values: np.ndarray, how: ImageConfig, padding: np.ndarray | None
) -> np.ndarray:
    """Greys (H, W) of stored values; those that are `padding` do not count for a range."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    def real(part: np.ndarray) -> np.ndarray:
        return apply_modality_lut(part, view)

    exact = values.dtype.kind == "f"
    chosen, inside = window_of(how.window), None if padding is None else ~padding
    if chosen is None and view.get("VOILUTSequence"):
        ends = _lut_range(view.VOILUTSequence[0])
        grey = by_rows(values, lambda part: scale(apply_voi_lut(real(part), view), *ends))
    elif chosen is None and None not in (view.get("WindowCenter"), view.get("WindowWidth")):
        grey = by_rows(values, lambda part: _windowed(view, real(part), exact))
    elif chosen is None and (top := _declared_top(view, values, how, inside)):
        grey = scale(values, 0, top)
    else:
        check_work(values.shape[1], values.shape[0], _OF_RANGE, "DICOM without a window")
        grey = to_bytes(real(values), chosen, how.percentiles, exact, inside)
    return 255 - grey if view.PhotometricInterpretation == "MONOCHROME1" else grey


def _declared_top(
    view: "Dataset", values: np.ndarray, how: ImageConfig, inside: np.ndarray | None
) -> int | None:
    """Value that becomes white in unsigned values without unit or window; None: not such values.

    The full range of the bits stored, halved for as long as the image fits: a picture that uses
    its bits looks as it was stored, whatever its own darkest and brightest places are, and one
    that uses a few of them is still seen.
    """
    plain = view.get("RescaleSlope") in (None, 1) and view.get("RescaleIntercept") in (None, 0)
    if values.dtype.kind not in "ub" or not plain or "ModalityLUTSequence" in view:
        return None
    if list(how.percentiles) != [0, 100]:
        return None
    shown = values if inside is None else values[inside]
    ends = own_range(shown, [0, 100])
    used = int(ends[1] if ends else shown.max()).bit_length()
    return 2 ** max(1, min(used, int(view.get("BitsStored", 16)))) - 1


def _windowed(view: "Dataset", real: np.ndarray, exact: bool) -> np.ndarray:
    """Values under the file's first window; its edges become 0 and 255, also where none is near."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    # pydicom spreads the window over the range of the stored type: 8 bits are declared here.
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
    except ValueError:
        widths = np.atleast_1d(view.WindowWidth)
        raise ImageError(f"the file's window has the width {widths[0]:g}, or a function that "
                         "is not known; image.window replaces it") from None  # fmt: skip


def _lut_range(lut: "Dataset") -> tuple[float, float]:
    return 0.0, float(2 ** int(lut.LUTDescriptor[2]) - 1)


def _palette(dataset: "Dataset", values: np.ndarray) -> Image.Image:
    """RGB image of indices (H, W) into the file's palette."""
    from pydicom.pixels.processing import apply_color_lut

    table = _palette_of(dataset)
    coloured = apply_color_lut(values, table)[..., :3]
    top = np.iinfo(coloured.dtype).max
    if coloured.dtype == np.uint16 and not _uses_words(table):
        # 8-bit entries, each in a word of its own (PS3.3 C.7.6.3.1.6, note).
        top = 255
    return Image.fromarray(scale(coloured, 0, top))


def _uses_words(dataset: "Dataset") -> bool:
    """Return True where an entry of a palette is larger than a byte."""
    tables = [dataset.get(f"{c}PaletteColorLookupTableData") for c in ("Red", "Green", "Blue")]
    # Segmented tables are of 16 bits by definition.
    return not all(isinstance(t, bytes) and not any(t[1::2]) for t in tables)


def _palette_of(dataset: "Dataset") -> "Dataset":
    """Data set whose plain palettes are little-endian."""
    # pydicom reads a plain table as little-endian whatever the file is; segmented ones it turns.
    if dataset.original_encoding[1] is not False:
        return dataset
    turned = pixel_description(dataset)
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTableData"
        table = dataset.get(name)
        entries = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value[0] or 2**16
        if isinstance(table, bytes) and len(table) == 2 * entries:
            turned[name].value = np.frombuffer(table, dtype=">u2").astype("<u2").tobytes()
    return turned


def _colour(dataset: "Dataset", values: np.ndarray) -> Image.Image:
    if values.dtype == np.uint8 and dataset.BitsStored == 8:
        return Image.fromarray(np.ascontiguousarray(values[..., :3]))
    # All channels by one range, the declared one, so that colours keep their hue.
    return Image.fromarray(scale(values[..., :3], 0, 2 ** int(dataset.BitsStored) - 1))
