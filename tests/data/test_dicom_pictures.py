"""What a DICOM header says wrong, or says beside the pixels, does not change the picture."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.dataelem import RawDataElement  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.tag import Tag  # noqa: E402
from pydicom.uid import JPEGBaseline8Bit  # noqa: E402

from clusterkit.config import ImageConfig  # noqa: E402
from clusterkit.data.imageio.read import decode, load_image  # noqa: E402
from clusterkit.errors import ImageError  # noqa: E402
from tests.damage import assert_image_or_reason  # noqa: E402
from tests.dicoms import dicom  # noqa: E402

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
FIELD = np.zeros((64, 64), bool)
FIELD[8:56, 8:56] = True


def saved(dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def grey(dataset, how: ImageConfig | None = None) -> np.ndarray:
    return np.asarray(decode(saved(dataset), how=how))[..., 0].astype(int)


def padded(kind: str, value: int, **elements):
    """A ramp with padding round it, and the header that says so."""
    values = (RAMP if kind == "u2" else RAMP.astype(int) - 1000).astype(kind)
    dataset = dicom(np.where(FIELD, values, value).astype(kind), **elements)
    dataset.add_new("PixelPaddingValue", "SS" if kind == "i2" else "US", value)
    return dataset, values


@pytest.mark.parametrize(
    ("kind", "value", "elements"),
    [
        ("i2", -32768, {}),
        ("i2", 32767, {}),
        ("i2", -2000, {"RescaleSlope": 1, "RescaleIntercept": 0}),
        ("i2", -2000, {"WindowCenter": 500, "WindowWidth": 2000}),
        ("u2", 65535, {}),
        ("u2", 0, {"PhotometricInterpretation": "MONOCHROME1"}),
        ("u2", 65535, {"RescaleSlope": 2, "RescaleIntercept": -1024}),
        ("u2", 65535, {"PhotometricInterpretation": "MONOCHROME1"}),
    ],
)
def test_padding_is_black_and_counts_for_no_range(kind, value, elements):
    dataset, values = padded(kind, value, **elements)
    found = grey(dataset)
    # The same picture, padded with a value of its own middle.
    plain = dicom(np.where(FIELD, values, values[30, 30]).astype(kind), **elements)
    assert (found[~FIELD] == 0).all()
    assert (found[FIELD] == grey(plain)[FIELD]).all()
    for how in (ImageConfig(percentiles=[1, 99]), ImageConfig(window=[1500, 9000])):
        assert (grey(dataset, how)[~FIELD] == 0).all()
        assert len(np.unique(grey(dataset, how)[FIELD])) > 50


@settings(max_examples=30, deadline=None)
@given(st.integers(-2000, -1200), st.integers(-2000, -1200), st.booleans())
def test_a_range_of_padding_in_either_order(low, high, unsigned_bits):
    """Signed values are often written under an unsigned VR: the bits are the same."""
    values = (RAMP.astype(int) - 1000).astype(np.int16)
    outside = np.linspace(low, high, 64 * 64).round().reshape(64, 64)
    dataset = dicom(np.where(FIELD, values, outside).astype(np.int16))
    for name, value in (("PixelPaddingValue", low), ("PixelPaddingRangeLimit", high)):
        dataset.add_new(name, *(("US", value % 65536) if unsigned_bits else ("SS", value)))
    found = grey(dataset)
    assert (found[~FIELD] == 0).all()
    assert found[FIELD].min() == 0
    assert found[FIELD].max() == 255


def test_a_header_by_which_all_is_padding_is_not_believed():
    dataset = dicom(RAMP)
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 65535)
    assert (grey(dataset) == grey(dicom(RAMP))).all()
    # Nor one that says nothing that is there, nor an empty one.
    for value in (9999, None):
        dataset = dicom(RAMP)
        dataset.add_new("PixelPaddingValue", "US", value)
        assert (grey(dataset) == grey(dicom(RAMP))).all()


@pytest.mark.parametrize("hot", [1, 5])
def test_a_few_hot_pixels_leave_the_others_as_they_are(hot):
    values = RAMP.copy()
    values[0, :hot] = 65535
    assert (grey(dicom(values))[1:] == grey(dicom(RAMP))[1:]).all()


def photograph() -> np.ndarray:
    """A smooth picture of strong colours, (64, 64, 3)."""
    y, x = np.mgrid[:64, :64] * 4
    return np.stack([x, y, 255 - (x + y) // 2], axis=-1).astype(np.uint8)


ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


def jpeg(stored: str, subsampling: int, marker: str) -> bytes:
    """A JPEG whose components are RGB or YCbCr, with a JFIF or an Adobe marker, or none."""
    buffer = io.BytesIO()
    image = Image.fromarray(photograph())
    image.save(buffer, "JPEG", quality=95, subsampling=subsampling, keep_rgb=stored == "RGB")
    data = buffer.getvalue()
    while data[2:4] in (b"\xff\xe0", b"\xff\xee"):
        data = data[:2] + data[4 + struct.unpack_from(">H", data, 4)[0] :]
    if marker == "JFIF":
        return data[:2] + b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + data[2:]
    adobe = ADOBE + (b"\0" if stored == "RGB" else b"\1")
    return data[:2] + adobe * (marker == "Adobe") + data[2:]


def with_stream(coded: bytes, header: str, frames: int = 1):
    dataset = dicom(photograph())
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PhotometricInterpretation = header
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = encapsulate([coded] * frames)
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("stored", "subsampling", "marker"),
    [
        ("RGB", 0, "none"),
        ("RGB", 0, "Adobe"),
        ("YCbCr", 0, "JFIF"),
        ("YCbCr", 0, "Adobe"),
        ("YCbCr", 1, "none"),
        ("YCbCr", 2, "none"),
        ("YCbCr", 2, "JFIF"),
        ("YCbCr", 2, "Adobe"),
    ],
)
def test_a_jpegs_colours_are_what_its_stream_is(header, stored, subsampling, marker):
    data = saved(with_stream(jpeg(stored, subsampling, marker), header, frames=2))
    for frame in (0, 1, 0):
        found = np.asarray(decode(data, frame=frame)).astype(int)
        assert np.abs(found - photograph())[2:-2, 2:-2].max() < 24


def test_a_stream_that_says_nothing_is_what_the_header_says():
    data = jpeg("YCbCr", 0, "none")
    right = np.asarray(decode(saved(with_stream(data, "YBR_FULL")))).astype(int)
    assert np.abs(right - photograph())[2:-2, 2:-2].max() < 24
    other = np.asarray(decode(saved(with_stream(data, "RGB")))).astype(int)
    assert np.abs(other - right).mean() > 24


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 700), st.integers(0, 255)), max_size=6), st.integers(4, 900)
)
def test_a_damaged_stream_gives_an_image_or_a_reason(changes, length):
    coded = bytearray(jpeg("YCbCr", 2, "Adobe")[:length])
    for place, value in changes:
        coded[place % len(coded)] = value
    assert_image_or_reason(lambda: decode(saved(with_stream(bytes(coded), "RGB"))))


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        ("1.2.840.10008.1.2.4.100", r"a film \(MPEG-2\): extract its frames"),
        ("1.2.840.10008.1.2.4.101.1", r"a film \(MPEG-2\)"),
        ("1.2.840.10008.1.2.4.102", r"a film \(MPEG-4\)"),
        ("1.2.840.10008.1.2.4.106.1", r"a film \(MPEG-4\)"),
        ("1.2.840.10008.1.2.4.108", r"a film \(HEVC\)"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.840.10008.1.2.4.112", "compressed as JPEG XL, which no decoder here reads"),
        ("1.2.840.10008.1.2.4.94", "on a server"),
    ],
)
def test_what_is_not_decoded_is_named_and_is_not_called_damaged(syntax, reason):
    dataset = dicom(photograph())
    # pydicom writes no syntax that it does not know: one of the same length stands for it.
    dataset.file_meta.TransferSyntaxUID = syntax.replace(".112", ".100")
    dataset.PixelData = encapsulate([b"\0\0\0\x18ftypmp42" + bytes(64)])
    dataset["PixelData"].is_undefined_length = True
    data = saved(dataset).replace(b"4.100" * syntax.endswith("112") or b"?" * 99, b"4.112")
    with pytest.raises(ImageError, match=reason) as caught:
        decode(data)
    assert "damaged" not in str(caught.value)


def written(name: str, text: str, **elements) -> bytes:
    """A file of an element that no library would write so."""
    dataset = dicom(RAMP, **elements)
    raw = text.encode() + b" " * (len(text) % 2)
    tag = Tag(name)
    dataset[tag] = RawDataElement(tag, "DS", len(raw), raw, 0, False, True)
    return saved(dataset)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2040,5", 2040.5), ("2040.5", 2040.5), ("2040,5\\50", 2040.5), ("+2,0405E3", 2040.5),
     (" 2041 ", 2041), (",5", 0.5)],
)  # fmt: skip
def test_a_decimal_comma_is_read(text, value):
    right = grey(dicom(RAMP, WindowCenter=value, WindowWidth=1000))
    found = decode(written("WindowCenter", text, WindowWidth=1000))
    assert (np.asarray(found)[..., 0] == right).all()
    slope = written("RescaleSlope", "0,5", RescaleIntercept=0, WindowCenter=1000, WindowWidth=900)
    assert (np.asarray(decode(slope))[..., 0] ==
            grey(dicom(RAMP, RescaleSlope=0.5, RescaleIntercept=0, WindowCenter=1000,
                       WindowWidth=900))).all()  # fmt: skip


@pytest.mark.parametrize("text", ["abc", "1,2,3", "nan", "inf", "4 0", "1.2.3"])
def test_a_window_that_is_no_number_is_a_reason(text):
    data = written("WindowCenter", text, WindowWidth=1000)
    with pytest.raises(ImageError, match="WindowCenter") as caught:
        decode(data)
    assert "Error" not in str(caught.value)
    # And what the reason advises works.
    assert np.asarray(decode(data, how=ImageConfig(window=[2000, 1000]))).max() == 255


def test_frames_of_a_big_endian_palette_stay_what_they_are(tmp_path: Path, real_data):
    """The header is kept between frames: reading one must not change it."""
    data = (real_data / "dicom" / "OBXXXX1A_expb_2frame.dcm").read_bytes()
    twin = real_data / "dicom" / "OBXXXX1A_2frame.dcm"
    for frame in (0, 1):
        expected = np.asarray(load_image(twin, frame=frame))
        assert (np.asarray(decode(data, frame=frame)) == expected).all()
