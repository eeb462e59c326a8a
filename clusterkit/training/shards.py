"""Embedding by shards: each process of a fit embeds its own images, and rank 0 gets all in order.

The images of a batch are the same however many processes there are, and so are its features.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from clusterkit.config import ImageConfig
from clusterkit.data.loading import ImageRef, load_batches
from clusterkit.errors import DataError, shown
from clusterkit.models.forward import batch_for_threads, whole_batches
from clusterkit.models.networks import Embeddings, Networks, embed_all, embed_paths
from clusterkit.progress import StageProgress
from clusterkit.training.process_group import ProcessGroup, current_group

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

# Images that are embedded, or go to another process, at a time: between two calls of `progress`,
# and of them alone are there copies.
CHUNK = 128

# Number of a batch, its features, and of what could not be read in it row and reason.
_Read = tuple[int, Embeddings | None, dict[int, str]]


def in_turns(work: Callable[[_Part], _Result], parts: Iterable[_Part]) -> Iterator[_Result]:
    """Yield `work` of each part, in order; of consecutive parts each process does one.

    Parameters
    ----------
    work : callable
        A function of a module, or a partial one; its networks come to other processes on the CPU.
    parts : iterable
        Taken when their turn comes.
    """
    group, waiting = current_group(), iter(parts)
    group.tell(_take_turns, work)
    while turn := list(islice(waiting, group.size)):
        idle: list[tuple[_Part, ...]] = [()] * (group.size - len(turn))
        group.scatter([*((part,) for part in turn), *idle])
        yield from group.gather(work(turn[0]))[: len(turn)]
    group.scatter([None] * group.size)


def _take_turns(group: ProcessGroup, work: Callable[[Any], Any]) -> None:
    own: tuple[Any, ...] | None
    while (own := group.scatter()) is not None:
        group.gather(work(*own) if own else None)


def embed_shared(
    networks: Networks,
    images: np.ndarray,
    device: torch.device | str,
    progress: StageProgress,
    precision: str | None = None,
) -> Embeddings:
    """Encode uint8 RGB images (N, S, S, 3) as `embed_all` does, each process its own."""
    size = whole_batches(CHUNK)
    chunks = (images[start : start + size] for start in range(0, len(images), size))
    work = partial(embed_chunk, networks, device=device, precision=precision)
    parts = []
    for part in in_turns(work, chunks):
        parts.append(part)
        progress(sum(len(p.siamese) for p in parts), len(images))
    return Embeddings(*(torch.cat(list(of_all)) for of_all in zip(*map(_both, parts), strict=True)))


def _both(found: Embeddings) -> tuple[torch.Tensor, torch.Tensor]:
    return found.classifier, found.siamese


def embed_chunk(
    networks: Networks, images: np.ndarray, device: torch.device | str, precision: str | None = None
) -> Embeddings:
    """Encode images (n, S, S, 3) on the own device, to which networks from elsewhere go first."""
    return embed_all(networks.to(device), images, device, precision=precision)


def embed_paths_shared(
    networks: Networks,
    refs: list[ImageRef],
    how: ImageConfig,
    device: str,
    progress: StageProgress,
    known: dict[int, Embeddings | None] | None = None,
    keep: Callable[[int, Embeddings | None], None] | None = None,
) -> Embeddings | None:
    """Read and encode images as `embed_paths` does, each process its own batches.

    Raises
    ------
    DataError
        A process cannot read an image that rank 0 can.
    """
    group, found = current_group(), dict(known or {})
    if group.size == 1:
        return embed_paths(networks, refs, how, device, progress, found, keep)
    missing = [number for number in _numbers(refs) if number not in found]
    group.tell(_embed_own, networks, refs, how, device, missing)

    def note(rank: int, batch: _Read) -> None:
        number, embeddings, errors = batch
        _check_unreadable(refs, how, rank, errors)
        found[number] = embeddings
        if keep:
            keep(number, embeddings)
        progress(sum(len(_rows(refs, n)) for n in found), len(refs))

    _embed_own(group, networks, refs, how, device, missing, note)
    return embed_paths(networks, refs, how, device, None, found)


def _embed_own(
    group: ProcessGroup,
    networks: Networks,
    refs: list[ImageRef],
    how: ImageConfig,
    device: str,
    missing: list[int],
    note: Callable[[int, _Read], None] | None = None,
) -> None:
    """Embed every so many batches of those that are missing, and meet the others after each."""
    own = missing[group.rank :: group.size]

    def meet(batch: _Read | None) -> None:
        for rank, read in enumerate(group.gather(batch)):
            if read is not None and note is not None:
                note(rank, read)

    def done(number: int, embeddings: Embeddings | None) -> None:
        read = 0 if embeddings is None else len(embeddings.siamese)
        rows = _rows(refs, number)
        meet((number, embeddings, _unreadable(refs, rows, how) if read < len(rows) else {}))

    others: dict[int, Embeddings | None] = dict.fromkeys(set(_numbers(refs)) - set(own))
    embed_paths(networks.to(device), refs, how, device, None, others, done)
    if len(own) < -(-len(missing) // group.size):
        meet(None)


def _numbers(refs: list[ImageRef]) -> range:
    """Return the numbers of the batches of `embed_paths`."""
    return range(-(-len(refs) // batch_for_threads()))


def _rows(refs: list[ImageRef], number: int) -> range:
    return range(len(refs))[number * batch_for_threads() :][: batch_for_threads()]


def _unreadable(refs: list[ImageRef], rows: Iterable[int], how: ImageConfig) -> dict[int, str]:
    """Return those of the rows that cannot be read here, each with the reason."""
    own = list(rows)
    (batch,) = load_batches([refs[row] for row in own], how, len(own), 0)
    return {row: str(why) for row, why in zip(own, batch.errors, strict=True) if why}


def _check_unreadable(
    refs: list[ImageRef], how: ImageConfig, rank: int, errors: dict[int, str]
) -> None:
    if not rank or not errors:
        return
    only_there = sorted(set(errors) - set(_unreadable(refs, errors, how)))
    if only_there:
        path, why = refs[only_there[0]][0], errors[only_there[0]]
        hosts = current_group().hosts
        raise DataError(
            f"rank {rank} ({hosts[rank]}) cannot read '{shown(path, 200)}' ({why}), and rank 0 "
            f"({hosts[0]}) can; images have to be at the same place on every machine: put them on "
            "a disk that all share, or copy them there"
        )
