"""Batches of decoded images, read by worker processes while the main one computes."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from clusterkit.config import ImageConfig
from clusterkit.data.appearance import appearance
from clusterkit.data.duplicates.signature import SIGNATURE, signature
from clusterkit.data.files import reading_processes
from clusterkit.data.imageio.read import decode, to_array
from clusterkit.data.manifest import read_identified
from clusterkit.errors import ImageError

log = logging.getLogger("clusterkit")

# A file, and which of its frames ("0", "1", …); None where it holds one image.
Place = tuple[str, str | None]

# Images that a worker reads at a time. The workers share each batch, so that one batch of huge
# images does not keep the main process waiting for one of them while the others are done.
_SLICE = 8

# The main process leads: a worker that takes its turn away from a forward pass stops all of that
# pass's threads, and what is read ahead fills the gaps.
_NICE = 10


@dataclass(frozen=True)
class Batch:
    """B images in a row of the input.

    Attributes
    ----------
    number : int
        Which batch of the input this is.
    images : (B, S, S, 3) uint8
        Zeros where the image could not be read.
    ids : (B,) str
        Image ids; "" where the file could not be read at all.
    errors : (B,) str
        Why an image could not be read; "" where it could.
    signatures : (B, SIGNATURE) int8
        What near duplicates are known by; zeros where the image could not be read.
    looks : (B, APPEARANCE) float32
        `appearance` of the images; that of a black one where the image could not be read.
    """

    number: int
    images: np.ndarray
    ids: np.ndarray
    errors: np.ndarray
    signatures: np.ndarray
    looks: np.ndarray


def do_nothing() -> None:
    """Do nothing; unlike a lambda, it can be sent to a process that was not forked."""


class _Images(Dataset):
    def __init__(
        self, places: list[Place], how: ImageConfig, in_worker: Callable[[], None] = do_nothing
    ) -> None:
        self.places, self.how, self.in_worker = places, how, in_worker

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str, str, np.ndarray]:
        size, identity = self.how.size, ""
        path, frame = self.places[index]
        try:
            data, identity = read_identified(path, frame)
            image = decode(data, size, self.how, int(frame or 0))
            return to_array(image, size, self.how.resize), identity, "", signature(image)
        except ImageError as error:
            blank = np.zeros((size, size, 3), dtype=np.uint8)
            return blank, identity, str(error), np.zeros(SIGNATURE, dtype=np.int8)


def places_of(rows: pd.DataFrame) -> list[Place]:
    """Return where the images of a manifest's rows are."""
    frames = [frame if isinstance(frame, str) and frame else None for frame in rows["frame"]]
    return list(zip(rows["path"], frames, strict=True))


def read_signatures(places: list[Place], how: ImageConfig) -> np.ndarray:
    """Return the signatures (N, SIGNATURE) int8 of images; zeros where one cannot be read."""
    parts = [np.zeros((0, SIGNATURE), dtype=np.int8)]
    parts += [batch.signatures for batch in load_batches(places, how, 64, workers_for(places))]
    return np.concatenate(parts)


def workers_for(places: list[Place]) -> int:
    """Return how many processes read so many images: starting them costs more than a few."""
    return 0 if len(places) < 200 else reading_processes()


def load_batches(
    places: list[Place],
    how: ImageConfig,
    batch_size: int,
    workers: int,
    skip: frozenset[int] | set[int] = frozenset(),
    in_worker: Callable[[], None] = do_nothing,
) -> Iterator[Batch]:
    """Return the images at `places` in order, in batches; those numbered in `skip` are left out.

    The workers begin at once, before the first batch is asked for; each calls `in_worker` first.
    An unreadable image is a blank one with its reason in `errors`: it never stops the batch.
    """
    starts = range(0, len(places), batch_size)
    numbers = [i for i in range(len(starts)) if i not in skip]
    slices = [
        (number, range(start, min(start + _SLICE, end)))
        for number in numbers
        for end in [min(starts[number] + batch_size, len(places))]
        for start in range(starts[number], end, _SLICE)
    ]
    loader = DataLoader(
        _Images(places, how, in_worker),
        batch_sampler=[list(rows) for _, rows in slices],
        num_workers=min(workers, len(slices)),
        prefetch_factor=_ahead(batch_size, workers) if workers and slices else None,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
    )
    return _joined([number for number, _ in slices], iter(loader))


def _ahead(batch_size: int, workers: int) -> int:
    """Slices that each worker reads ahead: two batches between them, and at least two each."""
    return max(2, -(-2 * batch_size // (_SLICE * workers)))


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    os.nice(_NICE)
    get_worker_info().dataset.in_worker()


def _collate(rows: list[tuple]) -> tuple[torch.Tensor, list, list, np.ndarray, np.ndarray]:
    images, ids, errors, signatures = zip(*rows, strict=True)
    images = np.stack(images)
    # A tensor travels from a worker through shared memory; the small arrays are pickled.
    return torch.from_numpy(images), ids, errors, np.stack(signatures), appearance(images)


def read_batch(places: list[Place], how: ImageConfig, number: int, batch_size: int) -> Batch:
    """Return one batch of the images at `places`, read in this process."""
    images = _Images(places, how)
    rows = range(number * batch_size, min((number + 1) * batch_size, len(places)))
    return _join(number, [_collate([images[row] for row in rows])])


def _joined(numbers: list[int], slices: Iterator[tuple]) -> Iterator[Batch]:
    """Put slices together that have the same number of a batch."""
    parts: list[tuple] = []
    for place, (number, part) in enumerate(zip(numbers, slices, strict=True)):
        parts.append(part)
        if place + 1 == len(numbers) or numbers[place + 1] != number:
            yield _join(number, parts)
            parts = []


def _join(number: int, parts: list[tuple]) -> Batch:
    images, ids, errors, signatures, looks = zip(*parts, strict=True)
    return Batch(
        number,
        np.concatenate([part.numpy() for part in images]),
        np.array([one for part in ids for one in part], dtype=str),
        np.array([one for part in errors for one in part], dtype=str),
        np.concatenate(signatures),
        np.concatenate(looks),
    )
