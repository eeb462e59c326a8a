"""Batches of decoded images, read by worker processes while the main one computes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from clusterkit.config import ImageConfig
from clusterkit.data.files import reading_processes
from clusterkit.data.images import decode, to_array
from clusterkit.data.manifest import read_identified
from clusterkit.data.signature import SIGNATURE, signature
from clusterkit.errors import ImageError

log = logging.getLogger("clusterkit")

# A file, and which of its frames ("0", "1", …); None where it holds one image.
Place = tuple[str, str | None]


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
    """

    number: int
    images: np.ndarray
    ids: np.ndarray
    errors: np.ndarray
    signatures: np.ndarray


class _Images(Dataset):
    def __init__(self, places: list[Place], how: ImageConfig) -> None:
        self.places, self.how = places, how

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
) -> Iterator[Batch]:
    """Yield the images at `places` in order, in batches; those numbered in `skip` are left out.

    An unreadable image is a blank one with its reason in `errors`: it never stops the batch.
    """
    starts = range(0, len(places), batch_size)
    numbers = [i for i in range(len(starts)) if i not in skip]
    rows = [list(range(starts[i], min(starts[i] + batch_size, len(places)))) for i in numbers]
    loader = DataLoader(
        _Images(places, how),
        batch_sampler=rows,
        num_workers=min(workers, len(rows)),
        collate_fn=_collate,
        worker_init_fn=_one_thread if workers else None,
    )
    for number, (images, ids, errors, signatures) in zip(numbers, loader, strict=True):
        ids, errors = np.array(ids, dtype=str), np.array(errors, dtype=str)
        yield Batch(number, images.numpy(), ids, errors, signatures.numpy())


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _collate(rows: list[tuple]) -> tuple[torch.Tensor, list, list, torch.Tensor]:
    images, ids, errors, signatures = zip(*rows, strict=True)
    # A tensor travels from a worker through shared memory; an array would be pickled.
    images, signatures = (torch.from_numpy(np.stack(a)) for a in (images, signatures))
    return images, list(ids), list(errors), signatures
