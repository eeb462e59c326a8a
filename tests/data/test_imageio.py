"""Every kind of file that Pillow reads becomes RGB, or one short reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit.data.imageio.read import decode, load_image, to_array
from clusterkit.errors import ImageError
from tests.damage import assert_image_or_reason

RAMP = np.linspace(0, 1, 64)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def grey(data: bytes) -> np.ndarray:
    return np.asarray(decode(data))[0, :, 0].astype(int)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((1000 + RAMP * 4000).astype(np.uint16), "TIFF"),
        ((RAMP * 2e9 - 1e9).astype(np.int32), "TIFF"),
        ((RAMP * 3 - 1).astype(np.float32), "TIFF"),
    ],
)
def test_deep_greys_keep_their_order_and_fill_the_range(values, kind):
    got = grey(encode(Image.fromarray(np.tile(values, (4, 1))), kind))
    assert (np.diff(got) >= 0).all()
    assert (got[0], got[-1]) == (0, 255)


def test_float_with_holes_and_constants():
    values = np.tile(RAMP.astype(np.float32), (4, 1))
    values[0, :3] = [np.nan, np.inf, -np.inf]
    assert grey(encode(Image.fromarray(values), "TIFF"))[:3].tolist() == [0, 255, 0]
    constant = Image.fromarray(np.full((4, 4), 30000, np.uint16))
    assert not np.asarray(decode(encode(constant, "PNG"))).any()


@pytest.mark.parametrize(
    ("mode", "colour", "black", "rgb"),
    [
        ("1", 1, 0, (255, 255, 255)),
        ("L", 90, 0, (90, 90, 90)),
        ("P", 7, 0, (250, 20, 40)),
        ("RGB", (250, 20, 40), (0, 0, 0), (250, 20, 40)),
        ("RGBA", (250, 20, 40, 255), (0, 0, 0, 255), (250, 20, 40)),
        ("RGBA", (250, 20, 40, 51), (250, 20, 40, 0), (50, 4, 8)),
        ("LA", (90, 255), (0, 255), (90, 90, 90)),
        ("CMYK", (0, 230, 209, 5), (0, 0, 0, 255), (250, 25, 45)),
        ("YCbCr", (91, 99, 241), (0, 128, 128), (250, 20, 40)),
    ],
)
def test_every_mode_shows_its_colour_in_its_place(mode, colour, black, rgb):
    """Left half of a known colour, right half black: expected values are written by hand."""
    image = Image.new(mode, (64, 32), black)
    if mode == "P":
        image.putpalette([0, 0, 0] * 7 + [250, 20, 40])
    image.paste(colour, (0, 0, 32, 32))
    lossy = mode in ("CMYK", "YCbCr")
    # Without chroma subsampling, which would blend the halves.
    data = encode(image, "JPEG", quality=95, subsampling=0) if lossy else encode(image, "PNG")
    found = decode(data)
    assert (found.mode, found.size) == ("RGB", (64, 32))
    pixels = np.asarray(found).astype(int)
    assert np.abs(pixels[:, :32] - rgb).max() <= (3 if lossy else 0)
    assert pixels[:, 32:].max() <= (3 if lossy else 0)


def test_transparency_lies_on_black():
    image = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    assert not np.asarray(decode(encode(image, "PNG"))).any()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    assert not np.asarray(decode(encode(palette, "PNG", transparency=1))).any()


def test_exif_orientation():
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encode(Image.fromarray(pixels), "PNG", exif=exif))
    assert found.size == (10, 20)
    assert np.asarray(found)[:5].mean() > np.asarray(found)[15:].mean()


def test_large_jpeg_is_decoded_smaller():
    image = Image.new("RGB", (1600, 1200), (9, 99, 200))
    found = decode(encode(image, "JPEG"), size=64)
    assert 128 <= min(found.size) < 1200


def test_first_of_several_frames():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_array_shape(resize):
    array = to_array(Image.new("RGB", (40, 20), "white"), 16, resize)
    assert array.shape == (16, 16, 3)
    assert array.dtype == np.uint8
    assert (array[0].max() == 0) == (resize == "pad")


def test_bad_files(tmp_path):
    whole = encode(Image.effect_noise((64, 64), 90), "PNG")
    # A valid header, checksum included, of 3.6 thousand million pixels.
    bomb = bytearray(whole)
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    for data, reason in [
        (b"", "empty file"),
        (b"this is text", "not an image"),
        (whole[: len(whole) // 2], "truncated"),
    ]:
        (tmp_path / "x.jpg").write_bytes(data)
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="more than 178,000,000 pixels"):
        decode(bytes(bomb))
    with pytest.raises(ImageError, match="does not exist"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path)


SEEDS = [
    encode(Image.effect_noise((24, 18), 60).convert(mode), kind)
    for kind, mode in [("PNG", "RGB"), ("JPEG", "RGB"), ("TIFF", "L"), ("GIF", "P"),
                       ("BMP", "RGB"), ("WEBP", "RGB"), ("PNG", "P"), ("PPM", "L")]
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
)
def test_damaged_files_never_raise_anything_else(data, changes, length):
    damaged = bytearray(data[: max(1, length)])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    assert len(assert_image_or_reason(lambda: decode(bytes(damaged)))) < 200
