"""Batches of decoded images, read by worker processes while the main one computes."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from clusterkit.config import ImageConfig
from clusterkit.data.appearance import APPEARANCE, measure_appearance
from clusterkit.data.deadly_images import find_deadly, is_lost_worker
from clusterkit.data.duplicates.signature import SIGNATURE, signature
from clusterkit.data.file_state import state_of
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.failures import reason_of
from clusterkit.data.imageio.read import decode, seen_by_model
from clusterkit.data.processes import (
    drawn,
    give_way,
    reading_processes,
    shared_memory_room,
    start_method,
    started,
)
from clusterkit.data.stores import may_pass
from clusterkit.data.time_limit import SECONDS, end_process_too, time_limit
from clusterkit.errors import ImageError, StoreError

log = logging.getLogger("clusterkit")

# A file, and which of its frames ("0", "1", …); None where it holds one image.
ImageRef = tuple[str, str | None]

# Images that a worker reads at a time. The workers share each batch, so that one batch of huge
# images does not keep the main process waiting for one of them while the others are done.
_SLICE = 8


@dataclass(frozen=True)
class ImageBatch:
    """B consecutive images of the input, decoded.

    Attributes
    ----------
    number : int
        Of the batch, from 0.
    images : (B, S, S, 3) uint8, or (B, D) float32
        Zeros where the image could not be read. The latter where features are given in the place
        of pixels, see `data.features.vector_lookup.GivenVectors`.
    ids : (B,) str
        Image ids; "" where the file could not be read at all.
    errors : (B,) str
        Reason why an image could not be read; "" where it could.
    signatures : (B, SIGNATURE) int8
        By which near duplicates are found; zeros where the image could not be read.
    appearance : (B, APPEARANCE) float32
        See `measure_appearance`; that of a black image where the image could not be read, NaN
        where it has features all the same.
    states : (B,) str
        See `state_of`; of each file before it was read.
    """

    number: int
    images: np.ndarray
    ids: np.ndarray
    errors: np.ndarray
    signatures: np.ndarray
    appearance: np.ndarray
    states: np.ndarray


# Of one image: itself (S, S, 3), its id, why it could not be read, its file's state, signature and
# appearance.
_Read = tuple[np.ndarray, str, str, str, np.ndarray, np.ndarray]

_Texts = tuple[str, ...]
# Of the images of a slice: themselves, ids, reasons, states, signatures and appearance.
_Slice = tuple[torch.Tensor | np.ndarray, _Texts, _Texts, _Texts, np.ndarray, np.ndarray]


class _Images(Dataset[_Read]):
    """Images at `refs`, decoded one by one; an unreadable one is black, with its reason."""

    def __init__(
        self, refs: list[ImageRef], how: ImageConfig, deadly: dict[int, str] | None = None
    ) -> None:
        self.refs, self.how = refs, how
        self.deadly = deadly or {}
        self.blank = _blank(how.pixels)

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> _Read:
        data, identity, (path, frame) = b"", "", self.refs[index]
        state = state_of(path)
        # All that is done to one image stands in here, so that nothing about it stops a batch.
        try:
            if index in self.deadly:
                raise ImageError(self.deadly[index])
            with time_limit(SECONDS):
                data, identity = read_identified(path, frame)
                pixels, own, appearance = self._seen(data, frame)
                return pixels, str(identity), "", state, own, appearance
        except BaseException as error:
            (black, own, appearance), reason = self.blank, reason_of(error, data)
            # What may pass is tried again.
            state = "passing" if may_pass(reason) else state
            return black, identity, reason, state, own, appearance

    def _seen(self, data: bytes, frame: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = decode(data, self.how.pixels, self.how, int(frame or 0))
        pixels, own = seen_by_model(image, self.how), signature(image)
        appearance = measure_appearance(pixels[np.newaxis])[0]
        for part, blank in zip((pixels, own, appearance), self.blank, strict=True):
            if part.shape != blank.shape or part.dtype != blank.dtype:
                raise ImageError(f"read as {part.dtype} of shape {part.shape}, which is no picture")
        return pixels, own, appearance


@lru_cache(maxsize=1)
def _blank(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, signature and appearance of what could not be read."""
    black = np.zeros((1, size, size, 3), dtype=np.uint8)
    return black[0], np.zeros(SIGNATURE, dtype=np.int8), measure_appearance(black)[0]


def image_refs(rows: pd.DataFrame) -> list[ImageRef]:
    """References to the images of a manifest's rows."""
    frames = [frame if isinstance(frame, str) and frame else None for frame in rows["frame"]]
    return list(zip(rows["path"], frames, strict=True))


def read_signatures(refs: list[ImageRef], how: ImageConfig) -> np.ndarray:
    """Signatures (N, SIGNATURE) int8 of images; zeros where one cannot be read."""
    parts = [np.zeros((0, SIGNATURE), dtype=np.int8)]
    parts += [batch.signatures for batch in load_batches(refs, how, 64, workers_for(refs))]
    return np.concatenate(parts)


def workers_for(refs: list[ImageRef]) -> int:
    """Number of processes that read the images; few images are read without any."""
    return 0 if len(refs) < 200 else reading_processes()


def load_batches(
    refs: list[ImageRef],
    how: ImageConfig,
    batch_size: int,
    workers: int,
    skip: frozenset[int] | set[int] = frozenset(),
) -> Generator[ImageBatch, None, None]:
    """Batches of the images at `refs`, in order.

    The workers begin at once, before the first batch is taken. An unreadable image is a black
    one with its reason in `errors`: it never stops the batch.

    Parameters
    ----------
    refs : list of ImageRef
    how : ImageConfig
    batch_size : int
    workers : int
        Processes that read; 0: this one reads.
    skip : set of int
        Numbers of batches that are left out.
    """
    starts = range(0, len(refs), batch_size)
    numbers = [i for i in range(len(starts)) if i not in skip]
    slices = [
        (number, range(start, min(start + _SLICE, end)))
        for number in numbers
        for end in [min(starts[number] + batch_size, len(refs))]
        for start in range(starts[number], end, _SLICE)
    ]
    workers = min(workers, len(slices))
    images, ahead = _Images(refs, how), _ahead(batch_size, workers) if workers else None

    def begin(parts: list[range]) -> Iterator[_Slice]:
        loader = DataLoader(
            images,
            batch_sampler=[list(rows) for rows in parts],
            num_workers=workers,
            prefetch_factor=ahead,
            collate_fn=_collate if _shared(how, batch_size, workers) else _collate_arrays,
            worker_init_fn=_start_worker if workers else None,
            multiprocessing_context=start_method() if workers else None,
        )
        return started(loader)

    parts = [rows for _, rows in slices]
    read = _surviving(images, parts, begin, begin(parts), workers * (1 + (ahead or 0)))
    return _joined([number for number, _ in slices], read)


def _surviving(
    images: _Images,
    parts: list[range],
    begin: Callable[[list[range]], Iterator[_Slice]],
    running: Iterator[_Slice],
    underway: int,
) -> Generator[_Slice, None, None]:
    """Yield slices; one at which a worker ended is read again without the image that ended it.

    At most `underway` slices are with the workers at a time.
    """
    done = 0
    while True:
        try:
            with closing(drawn(running)) as found:
                for part in found:
                    done += 1
                    yield part
            return
        except StoreError as error:
            # Of a worker, torch puts a traceback before its words.
            raise StoreError(str(error).rpartition(f"{StoreError.__name__}: ")[2]) from None
        except RuntimeError as error:
            if not is_lost_worker(error):
                raise
        suspects = [row for rows in parts[done : done + underway] for row in rows]
        images.deadly |= find_deadly(images.__getitem__, suspects)
        running = begin(parts[done:])


def _ahead(batch_size: int, workers: int) -> int:
    """Number of slices that each worker reads ahead: two batches in all, at least two each."""
    return max(2, -(-2 * batch_size // (_SLICE * workers)))


def shared_memory(how: ImageConfig, batch_size: int, workers: int) -> int:
    """Return how many bytes of shared memory the pictures that workers read ahead take at most."""
    if not workers:
        return 0
    slices = workers * _ahead(batch_size, workers) + -(-batch_size // _SLICE)
    return slices * _SLICE * 3 * how.pixels**2


def _shared(how: ImageConfig, batch_size: int, workers: int) -> bool:
    """Whether there is room for the pictures in shared memory: without, a worker never answers."""
    room = shared_memory_room()
    return room is None or room >= shared_memory(how, batch_size, workers)


def reader_of(refs: list[ImageRef], how: ImageConfig) -> Callable[[int], object]:
    """Reader of one image by its number, for `find_deadly`."""
    return _Images(refs, how).__getitem__


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    give_way()
    end_process_too()


def _collate(rows: list[_Read]) -> _Slice:
    images, ids, errors, states, own, appearance = _collate_arrays(rows)
    # A tensor travels from a worker through shared memory; arrays are pickled.
    return torch.as_tensor(images), ids, errors, states, own, appearance


def _collate_arrays(rows: list[_Read]) -> _Slice:
    images, ids, errors, states, signatures, appearance = zip(*rows, strict=True)
    return np.stack(images), ids, errors, states, np.stack(signatures), np.stack(appearance)


def unread_batches(
    refs: list[ImageRef], batch_size: int, skip: frozenset[int] | set[int] = frozenset()
) -> Generator[ImageBatch, None, None]:
    """Batches of images whose files are known not to be there, without pixels; see `load_batches`.

    Their images are (B, 0): nobody may look at them.
    """
    for number, start in enumerate(range(0, len(refs), batch_size)):
        count = min(batch_size, len(refs) - start)
        if number not in skip:
            yield ImageBatch(
                number,
                np.zeros((count, 0), dtype=np.uint8),
                np.full(count, "", dtype=object),
                np.full(count, "file does not exist", dtype=object),
                np.zeros((count, SIGNATURE), dtype=np.int8),
                np.zeros((count, APPEARANCE), dtype=np.float32),
                np.full(count, "", dtype=str),
            )


def read_batch(
    refs: list[ImageRef],
    how: ImageConfig,
    number: int,
    batch_size: int,
    deadly: dict[int, str] | None = None,
) -> ImageBatch:
    """Batch of the images at `refs` by its number, read in this process.

    Those that are known to end a process fail unread, with their reasons; see `deadly_images`.
    """
    images = _Images(refs, how, deadly)
    rows = range(number * batch_size, min((number + 1) * batch_size, len(refs)))
    return _join(number, [_collate([images[row] for row in rows])])


def _joined(
    numbers: list[int], slices: Generator[_Slice, None, None]
) -> Generator[ImageBatch, None, None]:
    """Batches of slices; consecutive slices of one number are one batch."""
    parts: list[_Slice] = []
    with closing(slices):
        for position, (number, part) in enumerate(zip(numbers, slices, strict=True)):
            parts.append(part)
            if position + 1 == len(numbers) or numbers[position + 1] != number:
                yield _join(number, parts)
                parts = []


def _join(number: int, parts: list[_Slice]) -> ImageBatch:
    images, ids, errors, states, signatures, appearance = zip(*parts, strict=True)
    return ImageBatch(
        number,
        np.concatenate([np.asarray(part) for part in images]),
        _texts(ids),
        _texts(errors),
        np.concatenate(signatures),
        np.concatenate(appearance),
        _texts(states),
    )


def _texts(parts: Sequence[_Texts]) -> np.ndarray:
    return np.array([one for part in parts for one in part], dtype=str)
