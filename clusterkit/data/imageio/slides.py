"""Whole-slide pyramids in TIFF files: one picture in several sizes, with a thumbnail and a label.

Such a file is one image. The label shows a patient's name, and is never read.
"""

import io
import math
import struct
from dataclasses import dataclass
from mmap import mmap

# Pages beyond which a file is a stack, and reduced copies of one page.
_MOST_PAGES, _MOST_LEVELS = 64, 32

# Bytes of the head of a file, which names the first page.
_HEAD = 16

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _DESCRIPTION, _TILE, _SUB = 254, 256, 257, 270, 322, 330

# Bytes of one value by the type of a field; others are of no use here.
_NUMBERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Level:
    offset: int
    width: int
    height: int
    tiled: bool
    reduced: bool
    aperio: bool
    below: tuple[int, ...]

    @property
    def pixels(self) -> int:
        return self.width * self.height


def find_level(data: bytes | mmap, max_pixels: int) -> int | None:
    """Place of the largest level of a whole-slide pyramid; None: the file is no pyramid.

    A pyramid is a file of Aperio, by its description; a page with smaller copies of its own
    (SubIFDs) and no other page of its size; a tiled page that tiled ones follow whose sides are
    halves, quarters, …; or three and more pages of which each is a half, a quarter, … of the
    first. Other pages of such a file are its thumbnail, label and macro.

    Parameters
    ----------
    data : bytes
        A TIFF file's contents.
    max_pixels : int
        Larger levels are passed over; where all are larger, the smallest is taken.

    Returns
    -------
    int or None
        Offset of the level's directory; see `BeginningAt`.
    """
    try:
        first, others, below = _read(data)
    except (struct.error, OverflowError, ValueError):
        return None
    if not first.pixels:
        return None
    levels = [first, *_levels(first, others, below, max_pixels)]
    if len(levels) == 1 and not first.aperio:
        return None
    fitting = [level for level in levels if level.pixels <= max_pixels]
    chosen = (
        max(fitting, key=lambda v: v.pixels) if fitting else min(levels, key=lambda v: v.pixels)
    )
    return chosen.offset


class BeginningAt(io.BytesIO):
    """A TIFF file whose first page is the one of a directory at `offset`.

    Nothing is copied, and no list of pages is walked: a file may have thousands of them.
    """

    def __init__(self, data: bytes, offset: int) -> None:
        super().__init__(data)
        self._head = _begin_at(data[:_HEAD], offset)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file; of its head, what names the first page is changed."""
        place = self.tell()
        found = super().read(size)
        head = self._head[place : place + len(found)]
        return head + found[len(head) :] if head else found


def _begin_at(data: bytes, offset: int) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    place, form = (8, order + "Q") if big else (4, order + "I")
    if struct.unpack_from(form, data, place)[0] == offset:
        return data
    return data[:place] + struct.pack(form, offset) + data[place + struct.calcsize(form) :]


def _levels(
    first: _Level, others: list[_Level], below: list[_Level], max_pixels: int
) -> list[_Level]:
    """Smaller levels of the first page; empty where the file is no pyramid."""
    if first.aperio:
        return [page for page in others if page.tiled and _same_shape(first, page)]
    if any((page.width, page.height) == (first.width, first.height) for page in others):
        return []
    if below:
        return [page for page in below if _same_shape(first, page)]
    halves = [page for page in others if _is_half(first, page)]
    strange = [page for page in others if page not in halves and not page.reduced]
    if first.tiled and any(page.tiled for page in halves) and len(strange) <= 3:
        return [page for page in halves if page.tiled]
    if len(halves) >= 2 and not strange:
        return halves
    only = all(page.reduced for page in others)
    return halves if only and first.pixels > max_pixels else []


def _same_shape(first: _Level, page: _Level) -> bool:
    if not 0 < page.pixels < first.pixels:
        return False
    ratio = first.width / page.width
    return abs(first.height / ratio - page.height) <= max(2, 0.01 * page.height)


def _is_half(first: _Level, page: _Level) -> bool:
    """Return True where the sides of a page are a half, a quarter, … of the first's."""
    if not _same_shape(first, page):
        return False
    ratio = 2 ** max(1, round(math.log2(first.width / page.width)))
    return (
        abs(first.width / ratio - page.width) <= 2 and abs(first.height / ratio - page.height) <= 2
    )


def _read(data: bytes | mmap) -> tuple[_Level, list[_Level], list[_Level]]:
    """First page, the others of the list, and the first's own smaller copies."""
    big = data[2:4] in (b"+\0", b"\0+")
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    pages: list[_Level] = []
    while offset:
        if len(pages) >= _MOST_PAGES or any(page.offset == offset for page in pages):
            raise ValueError("a stack, or a circle")
        page, offset = _read_page(data, order, big, offset)
        pages.append(page)
    if not pages:
        raise ValueError("no page")
    below = [_read_page(data, order, big, place)[0] for place in pages[0].below[:_MOST_LEVELS]]
    return pages[0], pages[1:], below


def _read_page(data: bytes | mmap, order: str, big: bool, offset: int) -> tuple[_Level, int]:
    """Page whose directory is at `offset`, and the offset of the next."""
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    first, size = offset + (8 if big else 2), 20 if big else 12
    if count > 4096:
        raise ValueError("no directory")
    found: dict[int, tuple[int, ...]] = {}
    aperio = False
    for place in range(first, first + count * size, size):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag == _DESCRIPTION:
            (start,) = struct.unpack_from(order + ("Q" if big else "I"), data,
                                          place + (12 if big else 8))  # fmt: skip
            aperio = data[start : start + 6] == b"Aperio"
        elif tag in (_SUBFILE_TYPE, _WIDTH, _HEIGHT, _TILE, _SUB) and kind in _NUMBERS:
            found[tag] = _numbers(data, order, big, place, _NUMBERS[kind])
    (after,) = struct.unpack_from(order + ("Q" if big else "I"), data, first + count * size)
    width, height, kinds = ((found.get(tag) or (0,))[0] for tag in (_WIDTH, _HEIGHT, _SUBFILE_TYPE))
    page = _Level(offset, width, height, _TILE in found, bool(kinds & 1), aperio,
                  found.get(_SUB, ()))  # fmt: skip
    return page, after


def _numbers(data: bytes | mmap, order: str, big: bool, place: int, form: str) -> tuple[int, ...]:
    (many,) = struct.unpack_from(order + ("Q" if big else "I"), data, place + 4)
    many = min(many, _MOST_LEVELS)
    start = place + (12 if big else 8)
    if many * struct.calcsize(order + form) > (8 if big else 4):
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, start)
    return struct.unpack_from(f"{order}{many}{form}", data, start)
