"""Channels, pyramids, transparency, notes and outliers: the picture is what a viewer shows."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from clusterkit.config import ImageConfig, config_from_dict
from clusterkit.data.imageio.greys import own_range
from clusterkit.data.imageio.read import decode, load_image
from clusterkit.data.inputs import read_inputs
from clusterkit.data.loading import load_batches
from clusterkit.errors import ConfigError, ImageError
from clusterkit.inspection.scan import image_facts
from tests.damage import assert_image_or_reason
from tests.data.test_depths import png16, ramp, tiff

WHITE = ImageConfig(background="white")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def channels_of(count: int, kind: str) -> np.ndarray:
    """(64, 64, C): channel k is a ramp, turned k times."""
    return np.stack([np.rot90(ramp(kind), k) for k in range(count)], axis=-1)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 4, 5, 12])
def test_channels_are_chosen_and_never_lost_without_a_word(kind, planar, count):
    values = channels_of(count, kind)
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
    data = tiff(stored, photometric="minisblack", planarconfig=planar)
    with pytest.raises(ImageError, match=rf"{count} channels.*\[image\] channels = ") as caught:
        decode(data)
    assert ("[0, 1, 2]" in str(caught.value)) == (count > 2)
    one = np.asarray(decode(data, how=ImageConfig(channels=[1])))
    expected = np.asarray(decode(tiff(values[..., 1], photometric="minisblack")))
    assert (one == expected).all()
    if count > 2:
        three = np.asarray(decode(data, how=ImageConfig(channels=[2, 0, 1])))
        assert np.abs(three[..., 2].astype(int) - expected[..., 0]).max() <= 1
        assert (three[..., 0] == np.rot90(three[..., 1], 2)).all()
    with pytest.raises(ImageError, match=f"{count} channels, numbered from 0"):
        decode(data, how=ImageConfig(channels=[count]))


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_transparency_is_no_channel_and_three_are_colours(kind):
    for extra in ("unassalpha", "assocalpha"):
        opaque = channels_of(2, kind)
        opaque[..., 1] = np.iinfo(opaque.dtype).max
        data = tiff(opaque, photometric="minisblack", extrasamples=[extra])
        plain = tiff(opaque[..., 0], photometric="minisblack")
        assert (np.asarray(decode(data)) == np.asarray(decode(plain))).all()
    three = channels_of(3, kind)
    as_greys = tiff(three, photometric="minisblack", planarconfig="contig")
    as_rgb = tiff(three, photometric="rgb")
    assert (np.asarray(decode(as_greys)) == np.asarray(decode(as_rgb))).all()
    four = np.concatenate([three, three[..., :1] * 0 + np.iinfo(three.dtype).max], axis=-1)
    rgba = tiff(four, photometric="rgb", extrasamples=["unassalpha"])
    assert np.abs(np.asarray(decode(rgba)).astype(int) - np.asarray(decode(as_rgb))).max() <= 1
    # A setting for other files leaves pictures of one channel alone.
    grey = tiff(ramp(kind), photometric="minisblack")
    how = ImageConfig(channels=[0, 1, 2])
    assert (np.asarray(decode(grey, how=how)) == np.asarray(decode(grey))).all()


@pytest.mark.parametrize("value", [[], [0, 1], [0, 1, 2, 3], [-1], [1.5], ["red"], [True], 3])
def test_channels_are_one_or_three_numbers(value):
    with pytest.raises(ConfigError, match=r"image\.channels"):
        config_from_dict({"image": {"channels": value}})


@pytest.mark.parametrize("value", ["grey", [1, 2], [0, 0, 256], [0, 0, -1], [0.5, 0, 0], 255])
def test_a_background_is_a_colour(value):
    with pytest.raises(ConfigError, match=r"image\.background"):
        config_from_dict({"image": {"background": value}})


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_transparent_pictures_are_laid_over_the_background(tmp_path, kind):
    values = np.zeros((32, 32, 4), np.uint8)
    values[8:24, 8:24, 3] = 255
    data = encoded(Image.fromarray(values), kind, **{"lossless": True} if kind == "WEBP" else {})
    assert np.asarray(decode(data)).max() == 0
    white = np.asarray(decode(data, how=WHITE))
    assert (white[0, 0] == 255).all()
    assert (white[16, 16] == 0).all()
    red = np.asarray(decode(data, how=ImageConfig(background=[200, 10, 0])))
    assert red[0, 0].tolist() == [200, 10, 0]
    path = tmp_path / "a"
    path.write_bytes(data)
    facts, _ = image_facts(str(path), None, config_from_dict({}))
    assert facts.transparent
    over_white = config_from_dict({"image": {"background": "white"}})
    assert not image_facts(str(path), None, over_white)[0].transparent


def slide(path, *, aperio: bool, strange: bool = True, big: bool = False) -> np.ndarray:
    """A pyramid as scanners write it: levels, a thumbnail, a label with a name, and a macro."""
    y, x = np.mgrid[:512, :768]
    base = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    label = np.full((64, 80, 3), 77, np.uint8)
    note = "Aperio Image Library v11.2.1\r\n768x512" if aperio else "a slide"
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        options = {"photometric": "rgb", "metadata": None}
        file.write(base, tile=(64, 64), description=note, **options)
        if strange:
            file.write(base[::8, ::8] // 2 if aperio else label, rowsperstrip=16, **options)
        file.write(base[::2, ::2], tile=(64, 64), **options)
        file.write(base[::4, ::4], tile=(64, 64), **options)
        if strange:
            file.write(label, rowsperstrip=16, subfiletype=1, **options)
            file.write(label[:, :70], rowsperstrip=16, subfiletype=9, **options)
    return base


@pytest.mark.parametrize("aperio", [True, False])
@pytest.mark.parametrize("strange", [True, False])
@pytest.mark.parametrize("big", [True, False])
def test_a_pyramid_is_one_image_its_largest_level(
    tmp_path, monkeypatch, caplog, aperio, strange, big
):
    path = tmp_path / "slide.tif"
    base = slide(path, aperio=aperio, strange=strange, big=big)
    with caplog.at_level("WARNING", "clusterkit"):
        assert read_inputs(tmp_path)["frame"].tolist() == [None]
    assert "1 file" in caplog.text
    assert "label and macro are not read" in caplog.text
    assert (np.asarray(load_image(path)) == base).all()
    with pytest.raises(ImageError, match="page 1 does not exist: the file has 1"):
        load_image(path, frame=1)
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_PIXELS", 150_000)
    assert (np.asarray(load_image(path)) == base[::2, ::2]).all()
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_PIXELS", 30_000)
    assert (np.asarray(load_image(path)) == base[::4, ::4]).all()
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="192x128 is more than 1,000 pixels"):
        load_image(path)


def test_smaller_copies_below_a_page_are_its_levels(tmp_path, monkeypatch):
    path = tmp_path / "a.ome.tif"
    base = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    with tifffile.TiffWriter(path) as file:
        file.write(base, subifds=2, tile=(64, 64), photometric="minisblack")
        for step in (2, 4):
            part = np.ascontiguousarray(base[::step, ::step])
            file.write(part, subfiletype=1, tile=(32, 32), photometric="minisblack")
    assert read_inputs(path)["frame"].tolist() == [None]
    assert load_image(path).size == (256, 256)
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_PIXELS", 20_000)
    assert load_image(path).size == (128, 128)


def test_stacks_and_pages_of_other_sizes_are_no_pyramids(tmp_path):
    pages = {"stack": [(64, 64)] * 3, "other": [(64, 64), (32, 40), (50, 20)],
             "pair": [(64, 64), (32, 32)]}  # fmt: skip
    for name, sizes in pages.items():
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for size in sizes:
                file.write(np.zeros(size, np.uint8), photometric="minisblack")
        found = read_inputs(tmp_path / f"{name}.tif")["frame"]
        assert found.tolist() == [str(k) for k in range(len(sizes))]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_pyramids_give_an_image_or_a_reason(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "pyramid.tif"
    if not path.exists():
        slide(path, aperio=True)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    for place, value in changes:
        data[(first + place) % len(data)] = value
    assert_image_or_reason(lambda: decode(bytes(data)))


def chunk(name: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


NOTES = {
    "profile": chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(3_000_000))),
    "text": chunk(b"zTXt", b"big\0\0" + zlib.compress(b"x" * 3_000_000)),
    "unicode": chunk(b"iTXt", b"big\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
    "many": chunk(b"tEXt", b"k\0" + b"x" * 900_000) * 80,
    "no profile": chunk(b"iCCP", b"broken\0\0" + b"no zlib at all"),
    "wrong check": chunk(b"tEXt", b"k\0text")[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "I;16", "RGB;16"])
def test_notes_of_a_png_are_no_reason_to_refuse_it(note, where, kind):
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    if kind == "RGB;16":
        plain = png16(channels_of(3, "u2"))
    elif kind == "I;16":
        plain = encoded(Image.fromarray(ramp("u2")))
    else:
        plain = encoded(Image.fromarray(channels_of(4, "u1")).convert(kind))
    place = 33 if where == "before" else plain.index(b"IEND") - 4
    data = plain[:place] + NOTES[note] + plain[place:]
    assert (np.asarray(decode(data)) == np.asarray(decode(plain))).all()
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    # Pixels that are cut off are no picture, whatever notes there are.
    with pytest.raises(ImageError):
        decode(data[: plain.index(b"IDAT") + 60 + (len(data) - len(plain)) * (where == "before")])


def pictures(draw_from) -> np.ndarray:
    low, high, size, seed = draw_from
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (size, size), endpoint=True)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(0, 5000), st.integers(5100, 15000), st.integers(40, 90),
              st.integers(0, 99)),
    st.integers(1, 5),
    st.sampled_from(["u2", "i4", "f4"]),
    st.booleans(),
)  # fmt: skip
def test_hot_and_dead_pixels_leave_the_others_as_they_are(drawn, many, kind, dead):
    plain = pictures(drawn).astype(kind)
    hot = plain.copy()
    flat = hot.reshape(-1)
    places = np.random.default_rng(drawn[3]).permutation(flat.size)[:many]
    flat[places] = 65535
    if dead and kind != "u2":
        flat[places[: many // 2]] = -60000
    before = np.asarray(decode(tiff(plain, photometric="minisblack")))[..., 0].astype(int)
    after = np.asarray(decode(tiff(hot, photometric="minisblack")))[..., 0].astype(int)
    rest = np.ones(flat.size, bool)
    rest[places] = False
    assert np.abs(before - after).reshape(-1)[rest].max() <= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["u2", "i2", "f4", "u4"]), st.integers(1, 3))
def test_the_range_of_an_ordinary_picture_is_its_lowest_and_highest(seed, kind, shape):
    """Even, bell-shaped and with a small bright object of a hundred pixels."""
    rng = np.random.default_rng(seed)
    values = {
        1: rng.uniform(0, 30000, (64, 64)),
        2: rng.normal(9000, 900, (64, 64)).clip(0, 30000),
        3: rng.uniform(0, 100, (64, 64)),
    }[shape]
    if shape == 3:
        values[5:15, 5:15] = 30000
    values = values.astype(kind)
    assert own_range(values, [0, 100]) == (values.min(), values.max())


def test_a_mask_with_a_small_object_keeps_it():
    values = np.zeros((64, 64), np.uint16)
    values[3, 3:6] = 40000
    assert own_range(values, [0, 100]) == (0, 40000)
    assert own_range(np.array([0, 1, 2, 3, 60000]), [0, 100]) == (0, 60000)


@pytest.mark.parametrize("shape", [(0, 50), (50, 0)])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_picture_without_pixels_is_one_failed_row(tmp_path, shape, kind):
    data = bytearray(tiff(np.zeros((50, 50), kind), photometric="minisblack"))
    (first,) = struct.unpack_from("<I", data, 4)
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", data, place + 2, 4, 1, shape[257 - tag])
    path = tmp_path / "zero.tif"
    path.write_bytes(bytes(data))
    (batch,) = load_batches([(str(path), None)], ImageConfig(size=32), 8, 0)
    assert batch.errors[0]
    facts, _ = image_facts(str(path), None, config_from_dict({}))
    assert facts.error == batch.errors[0]
    assert "\n" not in facts.error


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x18ftypisom", "MP4"), (b"\0\0\0\x14ftypqt  ", "QuickTime"),
     (b"RIFF\0\0\0\0AVI LIST", "AVI"), (b"\x1a\x45\xdf\xa3", "Matroska"), (b"\0\0\1\xba", "MPEG"),
     (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media")],
)  # fmt: skip
def test_films_are_named(head, name):
    with pytest.raises(ImageError, match=rf"a film \({name}.*\): extract its frames"):
        decode(head + bytes(500))
