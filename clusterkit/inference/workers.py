"""Evidence on many images, batch by batch, by whatever the machine has.

On a CPU every process reads, encodes and weighs whole batches with one thread: nothing waits for
another process's thread, and no pixels travel. Measured on 2 cores (resnet34, 224 pixels), this
labels 54 images a second where one process that computes and two that read reach 44, for each
turn that a reader takes away from one thread of a forward pass stops the other thread too. On a
GPU one process computes and the others read.
"""

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator
from inspect import signature

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset, get_worker_info

from clusterkit.config import Config
from clusterkit.data.files import reading_processes
from clusterkit.data.loading import ImageBatch, ImageRef, do_nothing, load_batches, read_batch
from clusterkit.errors import ClusterkitError
from clusterkit.inference.predictor import Predictor
from clusterkit.models.networks import Embeddings

# Images of a batch, where the config leaves it open: what one thread encodes in half a second
# and its cache still holds, and what keeps a GPU busy.
_CPU_BATCH, _GPU_BATCH = 16, 64

# More processes would need more memory than they save time.
_MOST_PROCESSES = 16

# Batches that each worker is ahead by: with one it would wait while another finishes its own.
_AHEAD = 2

# A batch of huge images keeps no other process waiting. Older versions of torch know one order.
_ANY_ORDER = {"in_order": False} if "in_order" in signature(DataLoader).parameters else {}

Found = tuple[int, dict[str, np.ndarray]]


def batch_size_of(config: Config, device: torch.device) -> int:
    """Return how many images make a batch: as the config says, else what suits the device.

    Sums over batches of another size may be rounded otherwise: confidences by some 1e-6.
    """
    return config.assign.batch_size or (_GPU_BATCH if device.type == "cuda" else _CPU_BATCH)


def compute(
    predictor: Predictor,
    refs: list[ImageRef],
    batch_size: int,
    skip: set[int],
    in_worker: Callable[[], None] = do_nothing,
) -> Iterator[Found]:
    """Yield (number, evidence) of the batches of images but those in `skip`, as they are done.

    Parameters
    ----------
    predictor : Predictor
    refs : list of (path, frame)
    batch_size : int
    skip : set of int
        Numbers of batches that are done.
    in_worker : callable
        Called once in each process that works.
    """
    total, asked = -(-len(refs) // batch_size), predictor.config.assign.workers
    # Starting workers costs more than a handful of images; a daemon may not have any.
    few = total <= 2 or multiprocessing.current_process().daemon
    predictor.networks.make_ready(predictor.device)
    # Without fork every process would have to load the run anew.
    if predictor.device.type == "cpu" and sys.platform == "linux":
        workers = min(torch.get_num_threads(), _MOST_PROCESSES) if asked is None else asked
        work = _Work(predictor, refs, batch_size, skip, in_worker)
        yield from _each_alone(work, 0 if few else workers)
    else:
        how, readers = predictor.run.config.image, 0 if few else reading_processes(asked)
        batches = load_batches(refs, how, batch_size, readers, skip, in_worker)
        yield from _overlapped(predictor, batches)


def _each_alone(work: "_Work", workers: int) -> Iterator[Found]:
    """Let processes do whole batches with one thread each; with none, do them here likewise.

    One thread also here: with several, sums are rounded otherwise.
    """
    if not workers or not len(work):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1):
                yield from (work.do(index) for index in range(len(work)))
        finally:
            torch.set_num_threads(threads)
        return
    loader = DataLoader(
        work,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=min(workers, len(work)),
        prefetch_factor=_AHEAD,
        worker_init_fn=_start,
        multiprocessing_context="fork",
        **_ANY_ORDER,
    )
    try:
        for found in loader:
            if isinstance(found, Exception):
                raise found
            yield found
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        raise ClusterkitError(
            "a process that reads images was ended from outside, most likely for want of memory; "
            "the same command goes on where it was, with fewer processes if assign.workers says so"
        ) from error


def _overlapped(predictor: Predictor, batches: Iterator[ImageBatch]) -> Iterator[Found]:
    """On a GPU, start the next batch before this one is finished: it never waits for the CPU."""
    ahead = 1 if predictor.device.type == "cuda" else 0
    running: deque[tuple[ImageBatch, Embeddings]] = deque()
    for batch in batches:
        running.append((batch, predictor.start(batch)))
        if len(running) > ahead:
            first, started = running.popleft()
            yield first.number, predictor.finish(first, started)
    for first, started in running:
        yield first.number, predictor.finish(first, started)


class _Work(Dataset):
    def __init__(
        self,
        predictor: Predictor,
        refs: list[ImageRef],
        batch_size: int,
        skip: set[int],
        in_worker: Callable[[], None],
    ) -> None:
        self.predictor, self.refs, self.batch_size = predictor, refs, batch_size
        self.numbers = [i for i in range(-(-len(refs) // batch_size)) if i not in skip]
        self.in_worker = in_worker

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Found | Exception:
        try:
            return self.do(index)
        except (ClusterkitError, MemoryError) as error:
            # Raised here, it would reach the user wrapped in a traceback.
            return error

    def do(self, index: int) -> Found:
        """Return one batch's evidence."""
        number = self.numbers[index]
        how = self.predictor.run.config.image
        batch = read_batch(self.refs, how, number, self.batch_size)
        return number, self.predictor.evidence(batch)


def _start(_: int) -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)
    get_worker_info().dataset.in_worker()


def _as_it_is(found: Found | Exception) -> Found | Exception:
    return found
