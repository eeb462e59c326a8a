"""DICOM: every file gives the picture that pydicom's own path gives, or a reason."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.pixels import (  # noqa: E402
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    convert_color_space,
    pixel_array,
)
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    RLELossless,
)

from clusterkit.config import Config, ImageConfig, config_from_dict  # noqa: E402
from clusterkit.data.imageio.read import load_image  # noqa: E402
from clusterkit.data.inputs import read_inputs  # noqa: E402
from clusterkit.errors import ConfigError, ImageError  # noqa: E402
from tests.damage import assert_image_or_reason  # noqa: E402
from tests.dicoms import dicom, save  # noqa: E402

# pydicom alone cannot decode these; each shows the same as another file of the folder.
TWINS = {
    "liver_deflate.dcm": "liver.dcm",
    "liver_rle.dcm": "liver.dcm",
    "liver_nonbyte_aligned_deflate.dcm": "liver_nonbyte_aligned.dcm",
    "liver_nonbyte_aligned_rle.dcm": "liver_nonbyte_aligned.dcm",
    # Its palettes are in big-endian words, which pydicom takes for little-endian ones.
    "OBXXXX1A_expb.dcm": "OBXXXX1A.dcm",
    "OBXXXX1A_expb_2frame.dcm": "OBXXXX1A_2frame.dcm",
}

NO_PIXELS = "emri_small_jpeg_2k_lossless_too_short.dcm"

NO_META = "OT-PAL-8-face.dcm"


def reference(path: Path, frame: int = 0) -> np.ndarray:
    """Return the picture by pydicom's functions, scaled to 0 … 255 by what the header declares."""
    dataset = pydicom.dcmread(path, force=True)
    if path.name == NO_META:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    values = pixel_array(dataset, index=frame, raw=True)
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        return apply_color_lut(values, dataset) / 65535 * 255
    if kind in ("YBR_FULL", "YBR_FULL_422"):
        values = convert_color_space(values, kind, "RGB")
    if values.ndim == 3:
        return values / (2.0**dataset.BitsStored - 1) * 255
    each = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    for item in [*(dataset.get("SharedFunctionalGroupsSequence") or []), *each]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            dataset.update(item[name][0] if name in item else {})
    if values.dtype.kind == "f":
        dataset.BitsStored, dataset.PixelRepresentation = 16, 0
        dataset.VOILUTFunction = "LINEAR_EXACT"
    real = apply_modality_lut(values, dataset)
    shown = apply_voi_lut(real, dataset).astype(float)
    low, high = shown.min(), shown.max()
    if values.dtype.kind == "u" and "RescaleSlope" not in dataset:
        low, high = 0, 2 ** int(high).bit_length() - 1
    if "VOILUTSequence" in dataset:
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowCenter" in dataset:
        half = 2.0 ** (dataset.BitsStored - 1)
        ends = (-half, half - 1) if dataset.PixelRepresentation else (0, 2 * half - 1)
        slope, base = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        low, high = (float(end * slope + base) for end in ends)
    picture = (shown - low) / ((high - low) or 1) * 255
    return 255 - picture if kind == "MONOCHROME1" else picture


def picture(path: Path, frame: int = 0, how: ImageConfig | None = None) -> np.ndarray:
    return np.asarray(load_image(path, how=how, frame=frame)).astype(float)


def grey(path: Path, how: ImageConfig | None = None) -> np.ndarray:
    return picture(path, how=how)[..., 0].astype(int)


@pytest.mark.slow
def test_every_real_file_gives_the_picture_of_pydicoms_path(real_data):
    files = sorted((real_data / "dicom").glob("*.dcm"))
    assert len(files) == 79
    n_frames = 0
    for path in files:
        if path.name == NO_PIXELS or path.name in TWINS:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count = int(pydicom.dcmread(path, force=True).get("NumberOfFrames") or 1)
            for frame in range(count):
                expected = reference(path, frame)
                found = picture(path, frame)
                if expected.ndim == 2:
                    expected = np.repeat(expected[..., None], 3, axis=2)
                assert np.abs(found - expected).max() <= 0.51, (path.name, frame)
                n_frames += 1
    assert n_frames > 100


@pytest.mark.parametrize(("name", "twin"), TWINS.items())
def test_what_pydicom_alone_cannot_read_shows_the_same_as_its_twin(real_data, name, twin):
    folder = real_data / "dicom"
    for frame in range(int(pydicom.dcmread(folder / twin).get("NumberOfFrames") or 1)):
        assert (picture(folder / name, frame) == picture(folder / twin, frame)).all()


def test_the_one_file_without_pixels_says_so(real_data):
    with pytest.raises(ImageError, match="no pixel data"):
        load_image(real_data / "dicom" / NO_PIXELS)


RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_a_ramp_of_12_bits_keeps_its_order_in_every_syntax(tmp_path, kind, syntax):
    dataset = dicom(RAMP, PhotometricInterpretation=kind, BitsStored=12)
    found = grey(save(dataset, tmp_path / "a.dcm", syntax)).ravel()
    found = 255 - found if kind == "MONOCHROME1" else found
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, 255)
    assert len(np.unique(found)) == 256


def test_signed_values_and_big_endian(tmp_path):
    signed = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    found = grey(save(dicom(signed), tmp_path / "s.dcm")).ravel()
    assert (np.diff(found) >= 0).all()
    dataset = dicom(RAMP)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = RAMP.astype(">u2").tobytes()
    found = grey(save(dataset, tmp_path / "b.dcm")).ravel()
    assert (np.diff(found) >= 0).all()


def test_a_window_means_the_same_value_in_every_image(tmp_path):
    """The file's window, a preset and numbers; the window is applied after the rescale."""
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    path = save(dicom(RAMP, **elements), tmp_path / "ct.dcm")
    own = save(dicom(RAMP, WindowCenter=40, WindowWidth=80, **elements), tmp_path / "own.dcm")
    brain = grey(path, ImageConfig(window="brain"))
    assert (brain == grey(path, ImageConfig(window=[40, 80]))).all()
    assert (brain == grey(own)).all()
    assert not (brain == grey(path)).all()
    hounsfield = RAMP.astype(int) - 1024
    assert (brain[hounsfield <= 0] == 0).all()
    assert (brain[hounsfield >= 80] == 255).all()
    assert abs(brain[hounsfield == 40][0] - 128) <= 2
    # Half of the picture: the same values give the same bytes.
    half = save(dicom(RAMP[:32].copy(), **elements), tmp_path / "half.dcm")
    assert (grey(half, ImageConfig(window="brain")) == brain[:32]).all()


def test_percentiles_cut_what_sticks_out(tmp_path):
    values = RAMP.copy()
    values[0, :6] = 65535
    path = save(dicom(values), tmp_path / "hot.dcm")
    assert np.median(grey(path)) < 16
    assert np.median(grey(path, ImageConfig(percentiles=[0.5, 99.5]))) > 100


@pytest.mark.parametrize("width", [0, -5])
def test_a_window_of_no_width_is_a_reason(tmp_path, width):
    path = save(dicom(RAMP, WindowCenter=40, WindowWidth=width), tmp_path / "w.dcm")
    with pytest.raises(ImageError, match=f"window has the width {width}"):
        load_image(path)
    assert grey(path, ImageConfig(window=[2000, 400])).max() == 255
    with pytest.raises(ConfigError, match="width above 0"):
        config_from_dict({"image": {"window": [40, width]}})


@pytest.mark.parametrize("value", ["lungs", [1], [1, "2"], [0, float("inf")], [float("nan"), 4]])
def test_a_window_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match=r"image\.window"):
        config_from_dict({"image": {"window": value}})


def damage(dataset, **elements) -> None:
    for name, value in elements.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None}, "no pixel data"),
        ({"Rows": 65535, "Columns": 65535}, "65535x65535 is more than"),
        ({"Rows": 0}, "Rows is not"),
        ({"Columns": None}, "Columns is not"),
        ({"PhotometricInterpretation": None}, "no PhotometricInterpretation"),
        ({"PixelData": b"\0\0"}, "damaged or truncated"),
        ({"BitsAllocated": 7}, "damaged or truncated"),
        ({"NumberOfFrames": 2000}, "damaged or truncated"),
    ],
)
def test_bad_headers_are_reasons(tmp_path, elements, reason):
    dataset = dicom(RAMP)
    damage(dataset, **elements)
    with pytest.raises(ImageError, match=reason):
        load_image(save(dataset, tmp_path / "bad.dcm"))


def test_a_deflated_file_is_read_and_a_bomb_is_not(tmp_path, monkeypatch):
    dataset = dicom(RAMP)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(dataset, tmp_path / "d.dcm")
    assert (np.diff(grey(path).ravel()) >= 0).all()
    assert read_inputs(path, Config())["group"][0].startswith("patient-")
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_BYTES", 5000)
    # Its pixels alone are more than the limit, once they are inflated.
    assert RAMP.nbytes > 5000
    monkeypatch.setattr("clusterkit.data.imageio.read.read_bytes", lambda p: Path(p).read_bytes())
    with pytest.raises(ImageError, match="when inflated"):
        load_image(path)


def test_a_compressed_stream_larger_than_its_header_is_refused(tmp_path):
    """Decoders allocate what the stream declares; the header was the one that was checked."""
    path = save(dicom(RAMP), tmp_path / "j.dcm", JPEG2000Lossless)
    data = bytearray(path.read_bytes())
    size = data.find(b"\xff\x4f\xff\x51") + 8
    data[size : size + 8] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="100000x100000"):
        load_image(path)


def test_a_missing_plug_in_is_named(tmp_path, monkeypatch):
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    path = save(dicom(RAMP), tmp_path / "j.dcm", JPEG2000Lossless)
    needs = {"pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-openjpeg>=2.0")}
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_unavailable", needs)
    with pytest.raises(ImageError, match=r"JPEG 2000.*clusterkit\[dicom\].*pylibjpeg-openjpeg"):
        load_image(path)


def test_without_pydicom_the_reason_says_what_to_install(tmp_path, monkeypatch):
    import sys

    path = save(dicom(RAMP), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"clusterkit\[dicom\]"):
        load_image(path)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_give_an_image_or_a_reason(tmp_path, seed):
    rng = np.random.default_rng(seed)
    syntax = [None, RLELossless, JPEG2000Lossless][seed % 3]
    data = bytearray(save(dicom(RAMP), tmp_path / "a.dcm", syntax).read_bytes())
    if seed % 2:
        data = data[: rng.integers(1, len(data))]
    for _ in range(rng.integers(1, 30)):
        data[rng.integers(len(data))] = rng.integers(256)
    path = tmp_path / "b.dcm"
    path.write_bytes(bytes(data))
    assert_image_or_reason(lambda: load_image(path))
    assert len(read_inputs(path, Config())) >= 1
