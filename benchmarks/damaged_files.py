"""Small files of every kind, and what may happen to one: for `benchmarks.fuzz`."""

import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from clusterkit.config import Config

SIDE = 64
# Most changes of a file fall into its first bytes, which say what the others are.
_HEAD = 400

# What Pillow writes, by the kind; others have functions of their own.
PILLOW = {
    "png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "jp2": "JPEG2000",
    "tga": "TGA", "ppm": "PPM", "ico": "ICO",
}  # fmt: skip
_VALUE = re.compile(rb'"[^"\n]*"|-?[0-9][0-9.e+-]*|true|false|null|[A-Za-z_]+')
_WORDS = (
    b"null", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"9" * 5000, b"true", b"{}", b"[]", b'""',
    b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', b'"\\u0000"', b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
    b'"', b"\r", b"\n", b",", b";", b"\t", b"=1+1", b"../../x", b"/etc/passwd", b"2026-02-30",
    b"a" * 70_000, "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), b"#9999999999", b"1" * 400,
)  # fmt: skip
_LENGTHS = (b"\xff\xff\xff\x7f", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0",
            b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\x80\0\0\0", b"\xff" * 8)  # fmt: skip


def mutate(rng: np.random.Generator, original: bytes, text: bool) -> bytes:
    """Return bytes with one to three changes; of every other text only values are others."""
    data, valid = bytearray(original), rng.random() < 0.5
    for _ in range(rng.integers(1, 4)):
        end = min(len(data), _HEAD) if rng.random() < 0.7 and not text else len(data)
        at, way = int(rng.integers(0, max(1, end))), rng.integers(8)
        length = int(rng.integers(1, 1 + 2 ** rng.integers(1, 10)))
        if text and (valid or way > 4):
            _other_value(rng, data, at)
        elif way == 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        elif way == 1:
            del data[at : at + length]
        elif way == 2:
            data[at:at] = rng.bytes(length)
        elif way == 3:
            data[at:at] = data[at : at + length] * int(rng.integers(1, 200))
        elif way == 4 and rng.random() < 0.3:
            del data[at:]
        else:
            wrong = _LENGTHS[rng.integers(len(_LENGTHS))]
            data[at : at + len(wrong)] = wrong
    return _with_checksums(data) if valid and data[:4] == b"\x89PNG" else bytes(data)


def _other_value(rng: np.random.Generator, data: bytearray, at: int) -> None:
    """Put another value where one stands in a text."""
    found = list(_VALUE.finditer(data, at, at + 500))
    start, stop = found[0].span() if found and rng.random() < 0.9 else (at, at)
    data[start:stop] = _WORDS[rng.integers(len(_WORDS))]


def _with_checksums(data: bytearray) -> bytes:
    """Return a PNG whose chunks bear the right checksums again, so that more is read of it."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def pictures(rng: np.random.Generator, kind: str) -> Iterator[bytes]:
    """What Pillow writes, in every mode that the kind has."""
    colour = Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 4), dtype=np.uint8))
    modes = {"png": ("RGBA", "RGB", "L", "P", "1", "I;16"), "gif": ("P",), "webp": ("RGBA", "RGB"),
             "tga": ("RGBA", "RGB"), "ppm": ("RGB", "L"), "jpeg": ("RGB", "L", "CMYK"),
             "ico": ("RGBA",), "jp2": ("RGBA", "RGB", "L")}  # fmt: skip
    for mode in modes.get(kind, ("RGB", "L")):
        grey = Image.fromarray(rng.integers(0, 4000, (SIDE, SIDE)).astype(np.uint16))
        file = io.BytesIO()
        (grey if mode == "I;16" else colour.convert("RGB").convert(mode)).save(file, PILLOW[kind])
        yield file.getvalue()


def tiffs(rng: np.random.Generator) -> Iterator[bytes]:
    """TIFFs of several depths, compressions and layouts."""
    grey, colour = rng.integers(0, 4000, (3, SIDE, SIDE)), rng.integers(0, 255, (SIDE, SIDE, 3))
    ways: list[tuple[np.ndarray, dict[str, Any]]] = [
        (grey[0].astype(np.uint16), {}), (grey[0].astype(np.float32), {"compression": "zlib"}),
        (grey.astype(np.uint16), {}), (grey.astype(np.uint8), {"bigtiff": True}),
        (colour.astype(np.uint8), {"photometric": "rgb", "rowsperstrip": 7}),
        (colour.astype(np.uint16), {"photometric": "rgb", "tile": (16, 16)}),
    ]  # fmt: skip
    for pixels, how in ways:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **{"photometric": "minisblack"} | how)
        yield file.getvalue()


def dicoms(rng: np.random.Generator) -> Iterator[bytes]:
    """DICOM files, plain and compressed, of one frame and of several."""
    # The tests' own maker of DICOM files.
    from tests.dicoms import dicom

    grey, frames = rng.integers(0, 4000, (SIDE, SIDE)), rng.integers(0, 255, (3, SIDE, SIDE))
    colour = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    for pixels in (grey.astype(np.uint16), frames.astype(np.uint8), colour):
        for compressed in (False, True):
            made, file = dicom(pixels, uid="1.2.3"), io.BytesIO()
            if compressed:
                made.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
            made.save_as(file, enforce_file_format=True)
            yield file.getvalue()


def tables(_: np.random.Generator) -> Iterator[bytes]:
    """Tables of labels in several encodings and with several separators."""
    rows = [f"{i % 4}.png,{'ab'[i % 2]},p{i % 4}" for i in range(4)]
    text = "image,label,group\n" + "\n".join(rows) + "\n"
    more = "image,label,group,split,frame\n" + "\n".join(f"{row},train,0" for row in rows)
    for one in (text, text.replace(",", ";"), text.replace("\n", "\r\n"), more,
                'image,label\n"0.png","Müller, ""a"""\n1.png,b\n'):  # fmt: skip
        yield one.encode()
        yield one.encode("utf-16")
        yield one.encode("latin-1")


def settings(config: Config) -> bytes:
    """Return a config as TOML, with all keys that have a value."""
    lines = []
    for section, values in config.to_dict().items():
        if not isinstance(values, dict):
            lines.insert(0, f"{section} = {json.dumps(values)}")
            continue
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(v)}" for key, v in values.items() if v is not None]
    return "\n".join(lines).encode()
