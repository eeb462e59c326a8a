"""Pictures of the focus view: copies within a budget of bytes, or links to the files."""

import io
import logging
import os
from pathlib import Path
from typing import Literal

from PIL import Image

from clusterkit.auditing.pictures import save_picture
from clusterkit.data.remote_files import is_remote

log = logging.getLogger("clusterkit")

# Longest side of a copy, in pixels; up to the second a copy loses nothing and is small.
SIDE, _LOSSLESS = 1024, 256

# More than this takes a browser's memory: 36 million pixels are 144 MB.
_MOST_PIXELS = 36_000_000

# What browsers show as `decode` reads it, by how files begin.
_SHOWN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")


class Originals:
    """Pictures with more pixels than a thumbnail.

    Parameters
    ----------
    how : {"copy", "link", "none"}
        A copy of at most `SIDE` pixels a side; a link to the file where browsers show it, else a
        copy; or neither.
    megabytes : int
        Bytes that all copies may take together, in millions.

    Attributes
    ----------
    copied, left_out : int
        Images that have a copy, and those that have none because the budget was reached.
    """

    def __init__(self, how: Literal["copy", "link", "none"], megabytes: int) -> None:
        self.how, self.megabytes = how, megabytes
        self.copied = self.left_out = 0
        self._left = megabytes * 1_000_000
        self._known: dict[str, str | None] = {}

    @property
    def side(self) -> int:
        """Pixels a side that an image should be decoded with at least."""
        return 0 if self.how == "none" else SIDE

    def path_of(
        self, image: Image.Image, data: bytes, path: Path | str, frame: int, out: Path, stem: str
    ) -> str | None:
        """Return the path of an image's picture relative to the page; None: it has none.

        Parameters
        ----------
        image : RGB
            What may be copied.
        data : bytes
            The file's contents.
        path : path or URL
        frame : int
            Of the file, from 0.
        out : Path
            Folder of the page.
        stem : str
            Names the copy by the image's bytes, relative to `out`.
        """
        if stem not in self._known:
            linked = self.how == "link" and not frame and not is_remote(path) and _is_shown(data)
            found = _seen_from(out, Path(path)) if linked else None
            if found is None and self.how != "none":
                found = self._copy(image, out, stem)
            self._known[stem] = found
        return self._known[stem]

    def notes(self) -> list[str]:
        """Return what a reader of the page should know, and log it."""
        if not self.left_out:
            return []
        log.warning("%d images have no large picture on the page: copies take %d MB; give "
                    "--originals link, or a larger audit.originals_mb",
                    self.left_out, self.megabytes)  # fmt: skip
        return [f"{self.left_out:,} images are shown large by their thumbnails: copies of the "
                f"others take the {self.megabytes:,} MB that they may."]  # fmt: skip

    def _copy(self, image: Image.Image, out: Path, stem: str) -> str | None:
        if self._left <= 0:
            self.left_out += 1
            return None
        small = _within(image, SIDE)
        name = f"{stem}-full.{'png' if max(small.size) <= _LOSSLESS else 'jpg'}"
        save_picture(small, out / name)
        size = (out / name).stat().st_size
        if size > self._left:
            (out / name).unlink()
            self._left = 0
            self.left_out += 1
            return None
        self._left -= size
        self.copied += 1
        return name


def _within(image: Image.Image, side: int) -> Image.Image:
    """Image of at most so many pixels a side; a large one is never copied whole."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _is_shown(data: bytes) -> bool:
    """Return whether browsers show a file's pixels as they are read here: 8 bits, no pages."""
    # A PNG's depth; deeper ones are windowed when they are read.
    if not data.startswith(_SHOWN) or (data[1:4] == b"PNG" and data[24] > 8):
        return False
    with Image.open(io.BytesIO(data)) as image:
        return image.width * image.height <= _MOST_PIXELS


def _seen_from(out: Path, path: Path) -> str | None:
    try:
        return Path(os.path.relpath(path, out)).as_posix()
    except ValueError:
        # On another drive.
        return None
