"""A budget an image: memory told from the header, processor time, pages and frames."""

import io
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit.config import DataConfig, ImageConfig
from clusterkit.data import loading
from clusterkit.data.imageio import bands, budget, conversion, greys, png
from clusterkit.data.imageio.bands import by_rows
from clusterkit.data.imageio.budget import MAX_WORK
from clusterkit.data.imageio.read import decode
from clusterkit.data.imageio.transparency import lay_over
from clusterkit.data.inputs import read_inputs
from clusterkit.data.loading import load_batches
from clusterkit.data.manifest import read_manifest
from clusterkit.data.time_limit import TimeUpError, time_limit
from clusterkit.errors import ConfigError, ImageError

WIDE = 13_300

# Channels and bits by the colour type of a PNG.
KINDS = {"rgba": (6, 4, 8), "rgb": (2, 3, 8), "rgb16": (2, 3, 16), "rgba16": (6, 4, 16),
         "grey16": (0, 1, 16), "grey_alpha": (4, 2, 8)}  # fmt: skip


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def black_png(kind, width, height):
    """Bytes of a PNG that is all zeros: a thousand times smaller than its pixels."""
    colour, channels, bits = KINDS[kind]
    row, deflated = bytes(1 + width * channels * bits // 8), zlib.compressobj(1)
    packed = b"".join(deflated.compress(row) for _ in range(height)) + deflated.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return png.MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


PEAK = """
import resource, sys
from clusterkit.data.imageio.read import decode
from clusterkit.errors import ImageError
data, size = open(sys.argv[1], "rb").read(), int(sys.argv[2]) or None
decode(open(sys.argv[3], "rb").read(), 32)
before, spent = (resource.getrusage(resource.RUSAGE_SELF) for _ in range(2))
try:
    decode(data, size)
except ImageError as error:
    print("refused:", error, file=sys.stderr)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_maxrss - before.ru_maxrss, after.ru_utime - spent.ru_utime)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units")
@pytest.mark.parametrize("size", [224, 0])
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.slow if k in ("rgba", "rgb16") else pytest.mark.long)
     for k in KINDS],
)  # fmt: skip
def test_no_small_file_takes_a_gigabyte(tmp_path, kind, size):
    (tmp_path / "big.png").write_bytes(black_png(kind, WIDE, WIDE))
    (tmp_path / "small.png").write_bytes(black_png(kind, 64, 64))
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "big.png", str(size), tmp_path / "small.png"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    kilobytes, seconds = map(float, ended.stdout.split())
    assert kilobytes < 1_100_000
    assert seconds < 30
    assert "\n" not in ended.stderr.strip()


@pytest.mark.parametrize("kind", ["rgb16", "rgba", "grey16"])
def test_what_does_not_fit_says_so_in_one_line(kind, monkeypatch):
    data = black_png(kind, 300, 200)
    decode(data)
    monkeypatch.setattr(budget, "MAX_WORK", 300 * 200 * 6)
    with pytest.raises(ImageError, match=r"^300x200 pixels of .* MB to decode, more than") as error:
        decode(data)
    assert "\n" not in str(error.value)


def test_a_side_without_end_is_refused(monkeypatch):
    with pytest.raises(ImageError, match="is no picture"):
        decode(black_png("grey16", 5_000_000, 1), 224)


def test_a_jpeg_of_many_passes_is_refused(monkeypatch):
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400)).save(buffer, "JPEG", progressive=True)
    decode(buffer.getvalue())
    monkeypatch.setattr(budget, "MOST_PASSED", 400 * 400 * 3)
    with pytest.raises(ImageError, match="passes is too much to decode"):
        decode(buffer.getvalue())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["RGBA", "LA", "P", "CMYK", "1", "L", "YCbCr"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_bands_give_the_same_picture(mode, width, height, seed):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8))
    image = image if mode == "RGBA" else image.convert("RGB" if mode == "CMYK" else "L")
    image = image.convert(mode) if mode != "P" else image.quantize(16)
    how = ImageConfig()
    alpha = mode in ("RGBA", "LA")
    whole = lay_over(image, how) if alpha else image.convert("RGB")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "BAND", 3 * width)
        found = conversion.upright_rgb(image, None, how)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole))


def test_a_shrunk_picture_is_shrunk_the_same_in_bands(monkeypatch):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (131, 97, 4), dtype=np.uint8))
    whole = lay_over(image, ImageConfig()).reduce(5)
    monkeypatch.setattr(budget, "MAX_WORK", 131 * 97 * 6)
    monkeypatch.setattr(conversion, "BAND", 97 * 11)
    found = conversion.upright_rgb(image, 9, ImageConfig())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([np.uint16, np.int16]),
    st.floats(-40_000, 70_000),
    st.floats(1, 70_000),
    st.integers(0, 2**32 - 1),
)
def test_a_table_scales_as_the_formula(kind, low, width, seed):
    ends = np.iinfo(kind)
    values = np.random.default_rng(seed).integers(ends.min, ends.max, (40, 30), kind, endpoint=True)
    plain = greys.scale(values, low, low + width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greys, "TABLE", 1)
        np.testing.assert_array_equal(greys.scale(values, low, low + width), plain)


def test_16_bit_colours_keep_their_low_byte(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**16, (7, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    data = (png.MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 7, 16, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip
    monkeypatch.setattr(png, "BAND", 10)
    np.testing.assert_array_equal(png.colour_values(data), values)


def test_work_by_rows_is_the_same(monkeypatch):
    values = np.random.default_rng(0).integers(0, 99, (17, 5))
    monkeypatch.setattr(bands, "BAND", 10)
    np.testing.assert_array_equal(by_rows(values, lambda part: part * 2), values * 2)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pages_are_walked_once(tmp_path, monkeypatch, kind):
    from clusterkit.data.identity import read_identified
    from clusterkit.data.imageio import tiff

    path, calls = tmp_path / "s.tif", []
    with tifffile.TiffWriter(path) as writer:
        for n in range(200):
            page = np.full((8, 8), n, kind)
            page[0, 0] = 255 if kind is np.uint8 else 200
            page[0, 1] = 0
            writer.write(page, photometric="minisblack", contiguous=False, metadata=None)
    real = tiff.list_pages
    monkeypatch.setattr(tiff, "list_pages", lambda data: calls.append(1) or real(data))
    for frame in (199, 0, 117):
        data, _ = read_identified(str(path), str(frame))
        grey = decode(data, None, None, frame).getpixel((5, 5))[0]
        assert grey == (frame if kind is np.uint8 else round(frame / 200 * 255))
    assert len(calls) == 1
    with pytest.raises(ImageError, match="page 200 does not exist"):
        decode(data, None, None, 200)


def test_a_part_of_a_tiff_that_is_inflated_without_end_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16), photometric="minisblack",
                     compression="zlib")  # fmt: skip
    data = bytearray(path.read_bytes())
    bomb = zlib.compress(bytes(300_000_000), 1)
    (first,) = struct.unpack_from("<I", data, 4)
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (273, 279):
            value = len(data) if tag == 273 else len(bomb)
            struct.pack_into("<HII", data, place + 2, 4, 1, value)
    with pytest.raises(ImageError, match="larger than the page"):
        decode(bytes(data) + bomb)


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")


def spin(*args, **named):
    """Work without end, and expect any damage."""
    until = time.process_time() + 60
    while time.process_time() < until:
        try:
            sum(range(1000))
        except Exception:
            continue


@needs_timer
def test_time_is_up_and_the_signal_is_given_back():
    with pytest.raises(TimeUpError), time_limit(0.2):
        spin()
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    with time_limit(5):
        sum(range(1000))
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


@needs_timer
def test_a_signal_of_others_and_other_threads_are_left_alone():
    def own(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGVTALRM, own)
    try:
        with time_limit(0.01):
            assert signal.getsignal(signal.SIGVTALRM) is own
    finally:
        signal.signal(signal.SIGVTALRM, before)
    done = []

    def work():
        with time_limit(1):
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@needs_timer
def test_a_monster_fails_alone(tmp_path, monkeypatch):
    for n in range(3):
        Image.new("RGB", (40, 40), (n, 9, 9)).save(tmp_path / f"{n}.png")
    refs = [(str(tmp_path / f"{n}.png"), None) for n in range(3)]
    real, calls = loading.decode, []

    def decoded(*args, **named):
        calls.append(1)
        return spin() if len(calls) == 2 else real(*args, **named)

    monkeypatch.setattr(loading, "decode", decoded)
    monkeypatch.setattr(loading, "SECONDS", 0.3)
    (batch,) = load_batches(refs, ImageConfig(size=32), 4, 0)
    assert batch.errors.tolist()[::2] == ["", ""]
    assert "s of processor time to read" in batch.errors[1]


@needs_timer
def test_a_label_pattern_without_end_is_an_error(tmp_path, monkeypatch):
    from clusterkit.data.adapters import pattern

    monkeypatch.setattr(pattern, "SECONDS_OF_ALL", 0.3)
    (tmp_path / ("a" * 60 + ".png")).touch()
    with pytest.raises(ConfigError, match=r"takes too long, e\.g\. on 'aaaa") as error:
        read_manifest(tmp_path, DataConfig(label_pattern=r"^((?:a+)+)+_x"))
    assert "\n" not in str(error.value)


def test_frames_are_believed_as_far_as_the_pixels_go(tmp_path):
    pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    from tests.dicoms import dicom, save

    values = np.random.default_rng(0).integers(0, 4000, (150, 16, 16)).astype(np.uint16)
    whole = dicom(values[0])
    whole.NumberOfFrames, whole.PixelData = 150, values.tobytes()
    assert len(read_inputs(save(whole, tmp_path / "a.dcm"))) == 150
    whole.NumberOfFrames = 70_000
    path = save(whole, tmp_path / "b.dcm")
    assert path.stat().st_size > 70_000
    assert len(read_inputs(path)) == 1
    buffer = io.BytesIO()
    Image.fromarray((values[0] >> 4).astype(np.uint8)).save(buffer, "JPEG")
    coded = dicom((values[0] >> 4).astype(np.uint8))
    coded.PixelData = encapsulate([buffer.getvalue()] * 120)
    coded["PixelData"].is_undefined_length = True
    coded.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    for said, believed in ((120, 120), (119, 119), (40_000, 121)):
        coded.NumberOfFrames = said
        assert len(read_inputs(save(coded, tmp_path / "c.dcm"))) == believed


def test_the_budget_is_under_a_gigabyte():
    assert MAX_WORK < 1_000_000_000
