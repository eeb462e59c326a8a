"""Images of the cards: read as the models see them, with thumbnails; labelled ones are kept."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from clusterkit.auditing.explain import Encoded, Explainer
from clusterkit.auditing.originals import Originals
from clusterkit.auditing.pictures import THUMB, TILE, file_stem, save_picture, thumbnail
from clusterkit.data.files import ImageFolder
from clusterkit.data.frames import frame_of
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.read import decode, seen_by_model
from clusterkit.errors import DataError
from clusterkit.formats.assignment_rows import AssignmentRow
from clusterkit.formats.run import Run

log = logging.getLogger("clusterkit")

# Images encoded in one forward pass.
BATCH = 16

# Bytes of labelled images' maps that are kept.
_KEPT_BYTES = 256_000_000

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class CardImage:
    """Image as the models see it.

    Attributes
    ----------
    pixels : (S, S, 3) uint8
    shape : (width, height)
        Of its thumbnail.
    thumb : str
        Path of the thumbnail relative to the page.
    full : str or None
        Path of the picture with more pixels; None: there is none.
    """

    pixels: np.ndarray
    shape: tuple[int, int]
    thumb: str
    full: str | None


@dataclass(frozen=True)
class LabelledImage(CardImage):
    """Labelled image with the Siamese model's maps of it; None: the run has no encoder."""

    encoded: Encoded | None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        maps = self.encoded.siamese if self.encoded is not None else []
        return self.pixels.nbytes + sum(m.nbytes for m in maps)


class ImageFiles:
    """The image files of a batch and of a run, and the pictures that are written of them.

    Parameters
    ----------
    run : Run
    inputs : ImageFolder
        Folder of the batch's images.
    out : Path
        Folder of the page.
    folder : str
        Folder of the pictures, relative to `out`.
    originals : Originals or None
        What the focus view shows; None: the thumbnails.

    Attributes
    ----------
    missing, changed, unmatched : int
        Images that were not found, those that have other bytes than when they were assigned, and
        labelled images that were not found.
    """

    def __init__(
        self,
        run: Run,
        inputs: ImageFolder,
        out: Path,
        folder: str,
        originals: Originals | None = None,
    ) -> None:
        self.run, self.inputs, self.out, self.folder = run, inputs, out, folder
        self.originals = originals or Originals("none", 0)
        self.missing = self.changed = self.unmatched = 0

    def open_query(self, row: AssignmentRow) -> CardImage | None:
        """Read the image of a row; None: it has failed, is gone, unreadable or has changed."""
        if row.status == "failed":
            return None
        return self._read_query(row, self._decode)

    def open_tile(self, row: AssignmentRow) -> str | None:
        """Write a small picture of a row's image; returns its path on the page, or None."""
        return self._read_query(row, self._tile)

    def _read_query(self, row: AssignmentRow, work: Callable[..., _Found]) -> _Found | None:
        """Call `work` with the bytes, path, frame and stem of a row's image, if it is there."""
        frame = row.image_id.partition("#")[2]
        try:
            path = self.inputs.find(row.image, "audit")
            data, identity = read_identified(path, frame or None)
            if row.image_id and identity != row.image_id:
                self.changed += 1
                log.info("no picture of %s: its bytes are not those that were assigned", row.image)
                return None
            return work(data, path, frame_of(row.image_id), file_stem(identity))
        except DataError as error:
            self.missing += 1
            log.info("no picture of %s: %s", row.image, error)
            return None

    def open_labelled(self, number: int) -> CardImage | None:
        """Read the labelled image in a row of the manifest; None: it is gone or unreadable."""
        row = self.run.manifest.iloc[number]
        try:
            path = self.run.find_image(row["image"])
            data, _ = read_identified(path, row["frame"] or None)
            name = f"labelled-{file_stem(row['image_id'])}"
            return self._decode(data, path, int(row["frame"] or 0), name)
        except DataError as error:
            self.unmatched += 1
            log.info("no picture of labelled %s: %s", row["image"], error)
            return None

    def _decode(self, data: bytes, path: Path, frame: int, name: str) -> CardImage:
        how, size = self.run.config.image, self.run.info.size
        shown = decode(data, size, how, frame)
        pixels = seen_by_model(shown, how)
        # Decoded for a small model, a large image is too coarse for an eye; a small one is whole.
        side = max(THUMB, self.originals.side) // 2
        if size < side and min(shown.size) >= 2 * size:
            # Both at once would be two of the largest that are read.
            del shown
            shown = decode(data, side, how, frame)
        small = thumbnail(shown, pixels, how.resize)
        stem = f"{self.folder}/{name}"
        save_picture(small, self.out / f"{stem}-thumb.jpg")
        full = self.originals.path_of(shown, data, path, frame, self.out, stem)
        return CardImage(pixels, small.size, f"{stem}-thumb.jpg", full)

    def _tile(self, data: bytes, path: Path, frame: int, name: str) -> str:
        how = self.run.config.image
        image = decode(data, TILE // 2, how, frame)
        stem = f"{self.folder}/{name}-tile.jpg"
        small = thumbnail(image, seen_by_model(image, how), how.resize, TILE)
        save_picture(small, self.out / stem)
        return stem

    def save(self, picture: Image.Image, query: CardImage, kind: str) -> str:
        """Write a picture of one kind that belongs to an image; returns its path on the page."""
        # Named by the bytes: the image's own name could be anything, even a path.
        path = f"{query.thumb.removesuffix('-thumb.jpg')}-{kind}"
        save_picture(picture, self.out / path)
        return path


class LabelledImages:
    """Labelled images by their row in the manifest, each read and encoded once.

    Parameters
    ----------
    files : ImageFiles
    explainer : Explainer or None
        None: the run has no encoder.
    """

    def __init__(self, files: ImageFiles, explainer: Explainer | None) -> None:
        self._files, self._explainer = files, explainer
        self._kept: OrderedDict[int, LabelledImage | None] = OrderedDict()
        self._bytes = 0

    def load(self, rows: set[int]) -> dict[int, LabelledImage]:
        """Return the images of these rows; those that cannot be read are left out."""
        new = self._encode(sorted(row for row in rows if row not in self._kept))
        for row in rows:
            if row in new:
                self._kept[row] = image = new[row]
                self._bytes += image.nbytes if image else 0
            self._kept.move_to_end(row)
        loaded = {row: image for row in rows if (image := self._kept[row]) is not None}
        while self._bytes > _KEPT_BYTES and len(self._kept) > len(rows):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes if dropped else 0
        return loaded

    def forget(self) -> None:
        """Drop all that is kept; what is asked for again is read again."""
        self._kept.clear()
        self._bytes = 0

    def _encode(self, rows: list[int]) -> dict[int, LabelledImage | None]:
        """Return the labelled images of these rows, encoded; None: it cannot be read."""
        found: dict[int, LabelledImage | None] = dict.fromkeys(rows)
        opened = [(row, image) for row in rows if (image := self._files.open_labelled(row))]
        if self._explainer is None:
            plain = {
                row: LabelledImage(i.pixels, i.shape, i.thumb, i.full, None) for row, i in opened
            }
            return found | plain
        for start in range(0, len(opened), BATCH):
            part = opened[start : start + BATCH]
            encoded = self._explainer.encode(np.stack([image.pixels for _, image in part]))
            for i, (row, image) in enumerate(part):
                maps = encoded.rows([i]).siamese
                found[row] = LabelledImage(
                    image.pixels, image.shape, image.thumb, image.full, Encoded(maps, maps)
                )
        return found
