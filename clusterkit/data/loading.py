"""Batches of decoded images, read by worker processes while the main one computes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from clusterkit.data.images import decode, read_bytes, to_array
from clusterkit.data.manifest import image_id_of
from clusterkit.errors import ImageError

log = logging.getLogger("clusterkit")


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
    """

    number: int
    images: np.ndarray
    ids: np.ndarray
    errors: np.ndarray


class _Images(Dataset):
    def __init__(self, paths: list[str], size: int, resize: str) -> None:
        self.paths, self.size, self.resize = paths, size, resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str, str]:
        blank, identity = np.zeros((self.size, self.size, 3), dtype=np.uint8), ""
        path = Path(self.paths[index])
        try:
            data = read_bytes(path)
            identity = image_id_of(data)
            image = decode(data, path.name, size=self.size)
            return to_array(image, self.size, self.resize), identity, ""
        except ImageError as error:
            return blank, identity, str(error)


def load_batches(
    paths: list[str],
    size: int,
    resize: str,
    batch_size: int,
    workers: int,
    skip: frozenset[int] | set[int] = frozenset(),
) -> Iterator[Batch]:
    """Yield the images at `paths` in order, in batches; those numbered in `skip` are left out.

    An unreadable image is a blank one with its reason in `errors`: it never stops the batch.
    """
    starts = range(0, len(paths), batch_size)
    numbers = [i for i in range(len(starts)) if i not in skip]
    rows = [list(range(starts[i], min(starts[i] + batch_size, len(paths)))) for i in numbers]
    loader = DataLoader(
        _Images(paths, size, resize),
        batch_sampler=rows,
        num_workers=min(workers, len(rows)),
        collate_fn=_collate,
        worker_init_fn=_one_thread if workers else None,
    )
    for number, (images, ids, errors) in zip(numbers, loader, strict=True):
        yield Batch(number, images.numpy(), np.array(ids, dtype=str), np.array(errors, dtype=str))


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _collate(rows: list[tuple[np.ndarray, str, str]]) -> tuple[torch.Tensor, list, list]:
    images, ids, errors = zip(*rows, strict=True)
    # A tensor travels from a worker through shared memory; an array would be pickled.
    return torch.from_numpy(np.stack(images)), list(ids), list(errors)
