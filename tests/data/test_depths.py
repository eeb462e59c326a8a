"""Every format and depth: values keep their order, nothing wraps around or fills the memory."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit.config import Config, ImageConfig
from clusterkit.data.identity import image_id_of, read_identified
from clusterkit.data.imageio.greys import apply_window, own_range, scale
from clusterkit.data.imageio.read import decode, load_image
from clusterkit.data.imageio.tiff import list_pages
from clusterkit.data.inputs import read_inputs
from clusterkit.errors import ImageError
from tests.damage import assert_image_or_reason

# Every depth's whole range, lowest to highest.
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


def ramp(kind: str) -> np.ndarray:
    """Return (64, 64) rising values over the range of a type (floats: -3 to 5)."""
    dtype = np.dtype(kind)
    ends = (-3.0, 5.0)
    if dtype.kind in "ui":
        ends = (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.linspace(*ends, 64 * 64).astype(dtype).reshape(64, 64)


def tiff(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def in_order(data: bytes) -> None:
    found = np.asarray(decode(data)).astype(int)
    for channel in range(3):
        row = found[..., channel].ravel()
        assert (np.diff(row) >= 0).all()
        assert (row[0], row[-1]) == (0, 255)
        assert len(np.unique(row)) == 256


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["grey", "rgb", "planar", "deflated", "tiled", "big"])
def test_a_tiff_ramp_of_any_type_keeps_its_order(kind, order, form):
    values = ramp(kind)
    options = {"byteorder": order, "photometric": "minisblack"}
    if form in ("rgb", "planar"):
        axis = 0 if form == "planar" else -1
        values, options["photometric"] = np.stack([values] * 3, axis=axis), "rgb"
        options["planarconfig"] = "separate" if form == "planar" else "contig"
    options |= {"deflated": {"compression": "zlib"}, "tiled": {"tile": (32, 32)},
                "big": {"bigtiff": True}}.get(form, {})  # fmt: skip
    in_order(tiff(values, **options))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_16_bit_tiffs(compression):
    buffer = io.BytesIO()
    Image.fromarray(ramp("u2")).save(buffer, "TIFF", compression=compression)
    in_order(buffer.getvalue())


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_is_zero_is_turned_round(kind):
    in_order(tiff(ramp(kind)[::-1, ::-1], photometric="miniswhite"))


def test_a_compression_that_needs_a_decoder_says_which(monkeypatch):
    buffer = io.BytesIO()
    Image.fromarray(ramp("u2")).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    # The sample format says float: 16 bits of which Pillow would make integers.
    entries = struct.unpack_from("<H", data, struct.unpack_from("<I", data, 4)[0])[0]
    first = struct.unpack_from("<I", data, 4)[0] + 2
    for place in range(first, first + 12 * entries, 12):
        if struct.unpack_from("<H", data, place)[0] == 339:
            struct.pack_into("<H", data, place + 8, 3)
            break
    else:
        pytest.skip("this Pillow writes no SampleFormat")
    with pytest.raises(ImageError, match="pip install imagecodecs"):
        decode(bytes(data))


def test_16_bit_pngs_keep_all_their_bits():
    """Twelve bits in sixteen, as microscopes write them: the high byte alone has 16 values."""
    values = (ramp("u2") >> 4).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    in_order(buffer.getvalue())
    in_order(png16(np.stack([values] * 3, axis=-1)))
    noise = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    found = np.asarray(decode(png16(noise))).astype(float)
    low, high = noise.min(), noise.max()
    assert np.abs(found - (noise - float(low)) / (high - low) * 255).max() <= 0.5


def png16(values: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint16 as PNG, which Pillow cannot."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))  # fmt: skip


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_jpeg_2000(kind):
    buffer = io.BytesIO()
    Image.fromarray(ramp(kind)).save(buffer, "JPEG2000", irreversible=False)
    in_order(buffer.getvalue())


def test_a_window_is_for_deep_greys_only():
    how = ImageConfig(window=[1000, 200])
    deep = np.asarray(decode(tiff(np.array([[0, 901, 1000, 1100, 5000]] * 5, np.uint16)), how=how))
    assert deep[0, :, 0].tolist() == [0, 1, 128, 255, 255]
    flat = Image.fromarray(ramp("u1"))
    buffer = io.BytesIO()
    flat.save(buffer, "PNG")
    assert (np.asarray(decode(buffer.getvalue(), how=how))[..., 0] == ramp("u1")).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=50),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.booleans(),
)
def test_scaling_keeps_order_and_ends(values, centre, width, exact):
    values = np.sort(np.array(values))
    windowed = apply_window(values, centre, width, exact).astype(int)
    assert (np.diff(windowed) >= 0).all()
    ends = own_range(values, [0, 100])
    if ends is None:
        assert values[0] == values[-1]
        return
    scaled = scale(values, *ends).astype(int)
    assert (np.diff(scaled) >= 0).all()
    assert (scaled[0], scaled[-1]) == (0, 255)


def test_each_page_is_an_image(tmp_path):
    pages = [ramp("u2") // (k + 1) + 1000 * k for k in range(3)]
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page.astype(np.uint16), photometric="minisblack")
        # What microscopes add for a quick look is no image of its own.
        file.write(np.zeros((8, 8), np.uint16), subfiletype=1, photometric="minisblack")
    rows = read_inputs(tmp_path)
    assert rows["frame"].tolist() == ["0", "1", "2"]
    for k in range(3):
        found = np.asarray(load_image(path, frame=k))[..., 0].ravel().astype(int)
        expected = scale(pages[k], pages[k].min(), pages[k].max()).ravel()
        assert (found == expected).all()
    with pytest.raises(ImageError, match="page 3 does not exist: the file has 3"):
        load_image(path, frame=3)
    middle = read_inputs(tmp_path, Config(image=ImageConfig(frames="middle")))
    assert middle["frame"].tolist() == ["1"]


def test_8_bit_pages_go_through_pillow(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    colours = [np.asarray(load_image(path, frame=k))[0, 0].tolist() for k in range(3)]
    assert colours == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("big", [False, True])
def test_a_page_list_that_runs_in_a_circle(tmp_path, big):
    data = bytearray(tiff(np.stack([ramp("u2")] * 3), photometric="minisblack", bigtiff=big))
    form, size, place = ("<Q", 20, 8) if big else ("<I", 12, 4)
    count = "<Q" if big else "<H"
    (first,) = struct.unpack_from(form, data, place)
    offset, seen = first, []
    while offset:
        seen.append(offset)
        (entries,) = struct.unpack_from(count, data, offset)
        end = offset + struct.calcsize(count) + entries * size
        (offset,) = struct.unpack_from(form, data, end)
    struct.pack_into(form, data, end, first)
    assert len(seen) == 3
    path = tmp_path / "loop.tif"
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="runs in a circle after page 3"):
        load_image(path)
    assert len(read_inputs(path)) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_any_page_list_ends(tail, magic):
    try:
        pages = list_pages(magic + tail)
    except ImageError:
        return
    assert len(pages) < 100


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["u2", "f4", "i1", "f8"]),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(10, 9000),
)
def test_damaged_deep_tiffs_give_an_image_or_a_reason(kind, changes, length):
    damaged = bytearray(tiff(ramp(kind)[:16, :16], compression="zlib")[:length])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    assert_image_or_reason(lambda: decode(bytes(damaged)))


def test_a_tiff_that_declares_too_much_is_refused():
    data = bytearray(tiff(ramp("u2"), photometric="minisblack"))
    (first,) = struct.unpack_from("<I", data, 4)
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        if struct.unpack_from("<H", data, place)[0] in (256, 257):
            struct.pack_into("<HII", data, place + 2, 4, 1, 100_000)
    with pytest.raises(ImageError, match="100000x100000 is more than"):
        decode(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["RGB PNG", "16-bit TIFF"])
def test_10k_by_10k_pixels_do_not_fill_the_memory(tmp_path, form):
    """A quarter of a gigabyte of pixels; the interpreter and its libraries are not counted."""
    path = tmp_path / "huge"
    if form == "RGB PNG":
        Image.new("RGB", (10_000, 10_000), (9, 99, 200)).save(path, "PNG", compress_level=1)
    else:
        tifffile.imwrite(path, np.zeros((10_000, 10_000), np.uint16), compression="zlib")
    code = (
        "import resource, sys\n"
        "from clusterkit.data.imageio.read import load_image\n"
        "import tifffile\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = load_image(sys.argv[1], size=224)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(min(image.size), (after - before) / 1024)\n"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True,
                           capture_output=True, text=True)  # fmt: skip
    size, used = map(float, found.stdout.split())
    assert 448 <= size < 10_000
    assert used < 600


def test_a_stack_that_changes_is_read_anew(tmp_path):
    path = tmp_path / "a.tif"
    ids = []
    for value in (1, 2):
        tifffile.imwrite(
            path, np.full((value + 1, 8, 8), value, np.uint8), photometric="minisblack"
        )
        data, image_id = read_identified(path, "0")
        assert (data, image_id) == (path.read_bytes(), image_id_of(path.read_bytes(), "0"))
        ids.append(image_id)
    assert ids[0] != ids[1]
