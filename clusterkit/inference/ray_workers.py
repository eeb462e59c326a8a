"""What runs on the nodes of a Ray cluster: actors that read batches, and that compute them."""

import multiprocessing
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clusterkit.config import ImageConfig
from clusterkit.data.deadly_images import find_deadly
from clusterkit.data.loading import ImageBatch, ImageRef, read_batch, reader_of
from clusterkit.errors import ClusterkitError
from clusterkit.inference.batch_model import BatchModel
from clusterkit.inference.workers import overlapped, use_one_thread

# As Ray hands them on.
Rows = dict[str, np.ndarray]

# Times that a partition is begun before it is given up: each ended its process, or its node died.
_MOST_ATTEMPTS = 8


@dataclass(frozen=True)
class Partition:
    """What travels to an actor at a time.

    Attributes
    ----------
    numbers : list of int
        Of its batches.
    refs : list of (path, frame)
        Of their images, one batch after the other.
    batch_size : int
        Of all but the last one, which may be smaller.
    """

    numbers: list[int]
    refs: list[ImageRef]
    batch_size: int


class BatchReader:
    """Reads the images of partitions.

    Parameters
    ----------
    image : ImageConfig
    attempts : handle of an actor of `Attempts`
    """

    def __init__(self, image: ImageConfig, attempts: Any) -> None:
        self._image, self._attempts = image, attempts
        # A forked process would lack Ray's threads, and wait for them.
        multiprocessing.set_start_method("spawn", force=True)
        use_one_thread()

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Yield batches with their pixels."""
        yield from packed((batch.number, batch) for batch in self.batches(rows))

    def batches(self, rows: Rows) -> Iterator[ImageBatch]:
        """Yield the batches of partitions, decoded."""
        import ray

        for part in map(pickle.loads, rows["part"]):
            before = ray.get(self._attempts.begin.remote(part.numbers[0]))
            deadly = self._deadly(part.refs, before) if before else None
            for place, number in enumerate(part.numbers):
                batch = read_batch(part.refs, self._image, place, part.batch_size, deadly)
                yield replace(batch, number=number)

    def _deadly(self, refs: list[ImageRef], before: int) -> dict[int, str]:
        """Find the images at which processes end, if it was not the node that ended."""
        if before >= _MOST_ATTEMPTS:
            raise ClusterkitError(
                f"processes ended {before} times at the images from {refs[0][0]} on, most likely "
                "for want of memory; give each more of it, then the same command goes on"
            )
        try:
            return find_deadly(reader_of(refs, self._image), range(len(refs)))
        except ClusterkitError:
            return {}


class BatchComputer:
    """Computes batches that are read.

    Parameters
    ----------
    made : list of one reference
        To the callable that makes the model, pickled. In a list: Ray keeps what an actor is given
        for restarts, and this is large.
    """

    def __init__(self, made: list[Any]) -> None:
        import ray

        use_one_thread()
        self._why: ClusterkitError | None = None
        try:
            make_model: Callable[[], BatchModel] = pickle.loads(ray.get(made[0]))
            self._model = make_model()
            self._model.make_ready()
        except Exception as error:
            # Raised here, Ray would make the actor anew, again and again.
            said = f"{type(error).__name__}: {error}"[:300]
            self._why = ClusterkitError(
                f"node {socket.gethostname()} cannot load the run: {said}; install there what this "
                "machine has of encoders and weights"
            )

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Yield what is computed of batches."""
        yield from self.computed(pickle.loads(found) for found in rows["found"])

    def computed(self, batches: Iterable[ImageBatch]) -> Iterator[Rows]:
        """Yield what is computed of batches, packed."""
        if self._why is not None:
            yield _row(-1, self._why)
        else:
            yield from packed(overlapped(self._model, batches))


class ReaderAndComputer:
    """Reads batches and computes them in one process, so that no pixels travel."""

    def __init__(self, image: ImageConfig, attempts: Any, made: list[Any]) -> None:
        self._reader, self._computer = BatchReader(image, attempts), BatchComputer(made)

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Yield what is computed of the batches of partitions."""
        yield from self._computer.computed(self._reader.batches(rows))


def packed(found: Iterable[tuple[int, Any]]) -> Iterator[Rows]:
    """Yield (number, anything) as rows; an error that a user can cause is one, numbered -1."""
    try:
        for number, one in found:
            yield _row(number, one)
    except (ClusterkitError, MemoryError) as error:
        # Raised here, it would reach the user wrapped in a traceback.
        yield _row(-1, error)


def _row(number: int, found: Any) -> Rows:
    return {"number": np.array([number]), "found": np.array([pickle.dumps(found)], dtype=object)}
