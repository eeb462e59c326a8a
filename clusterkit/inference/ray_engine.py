"""The Ray engine: batches are computed by a pool of actors on the nodes of a cluster."""

import logging
import pickle
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from clusterkit.config import Config, ImageConfig
from clusterkit.data.loading import ImageRef
from clusterkit.errors import ClusterkitError, ConfigError
from clusterkit.inference.batch_model import BatchModel, NumberedArrays
from clusterkit.inference.ray_attempts import Attempts
from clusterkit.inference.ray_connection import joined
from clusterkit.inference.ray_nodes import check_nodes, processors_of_nodes
from clusterkit.inference.ray_workers import (
    BatchComputer,
    BatchReader,
    Partition,
    ReaderAndComputer,
)

log = logging.getLogger("clusterkit")

# Batches of a partition, at most: what a node loses when it dies.
_BATCHES = 16

# Batches that a GPU gets at a time: while one is computed, the next one is copied.
_TOGETHER = 8

# Partitions that each actor gets, at least: the last ones to be done are short.
_ROUNDS = 4


@contextmanager
def connected(address: str | None, config: Config) -> Iterator["RayEngine"]:
    """Connect to a cluster for a block; see `open_engine`."""
    with joined(address):
        yield _engine(config)


@dataclass(frozen=True)
class RayEngine:
    """A pool of actors; one for each processor, or for each GPU.

    Attributes
    ----------
    device : torch.device
    processor : str
        See `processor_of`; of several kinds, all of them.
    actors : int
    """

    device: torch.device
    processor: str
    actors: int

    def compute(
        self,
        make: Callable[[], BatchModel],
        image: ImageConfig,
        refs: list[ImageRef],
        batch_size: int,
        skip: Collection[int] = (),
    ) -> Generator[NumberedArrays, None, None]:
        """Yield (number, arrays) of the batches of images but those in `skip`, as they are done."""
        parts = _partitions(refs, batch_size, set(skip), self.actors)
        if not parts:
            return
        import ray

        # Held here for as long as actors may be restarted from it.
        made = ray.put(pickle.dumps(make))
        check_nodes(refs)
        seen = set(skip)
        for number, found in _streamed(self._pipeline(parts, image, made)):
            # Where a node died, what it had computed may come twice.
            if number not in seen:
                seen.add(number)
                yield number, found

    def _pipeline(self, parts: list[Partition], image: ImageConfig, made: Any) -> Any:
        import ray

        attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        counting = attempts.remote()
        rows = [{"part": pickle.dumps(part)} for part in parts]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        if self.device.type == "cpu":
            return _mapped(dataset, ReaderAndComputer, (image, counting, [made]), self.actors)
        readers = int(ray.cluster_resources()["CPU"])
        read = _mapped(dataset, BatchReader, (image, counting), readers)
        return _mapped(read, BatchComputer, ([made],), self.actors, num_gpus=1)


def _mapped(dataset: Any, worker: type, given: tuple, actors: int, num_gpus: int = 0) -> Any:
    """Map the rows of a dataset by a pool of actors, which Ray restarts when they die."""
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        worker,
        fn_constructor_args=given,
        # What a partition is split into comes whole, but Ray Data wants a number for a GPU.
        batch_size=_TOGETHER if num_gpus else None,
        compute=ActorPoolStrategy(min_size=1, initial_size=actors, max_size=actors),
        num_cpus=0 if num_gpus else 1,
        num_gpus=num_gpus or None,
    )


def _streamed(dataset: Any) -> Iterator[tuple[int, Any]]:
    from ray.exceptions import RayError

    try:
        for rows in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            for number, found in zip(rows["number"], rows["found"], strict=True):
                value = pickle.loads(found)
                if number < 0:
                    raise value
                yield int(number), value
    except RayError as error:
        said = " ".join(str(error).split())[-300:]
        raise ClusterkitError(
            f"the Ray cluster has stopped to compute: {said}; what was done is kept, and the same "
            "command goes on, on this cluster or another"
        ) from error


def _partitions(
    refs: list[ImageRef], batch_size: int, skip: set[int], actors: int
) -> list[Partition]:
    numbers = [i for i in range(-(-len(refs) // batch_size)) if i not in skip]
    size = min(_BATCHES, max(1, len(numbers) // (_ROUNDS * actors)))
    parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return [Partition(part, [ref for n in part for ref in refs[n * batch_size :][:batch_size]],
                      batch_size) for part in parts]  # fmt: skip


def _engine(config: Config) -> RayEngine:
    import ray

    resources, wanted = ray.cluster_resources(), config.device
    gpus = int(resources.get("GPU", 0))
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{wanted}' is none of a Ray cluster; give auto, cpu or cuda")
    if wanted == "cuda" and not gpus:
        raise ConfigError("device 'cuda': the Ray cluster has no GPU; give auto or cpu")
    device = torch.device("cuda" if gpus and wanted != "cpu" else "cpu")
    processors = int(resources.get("CPU", 0))
    if not processors:
        raise ConfigError("the Ray cluster has no processor to compute with; add a node by "
                          "`ray start --address HOST:PORT`")  # fmt: skip
    if ray.available_resources().get("CPU", 0) < 1:
        log.warning("all %d processors of the Ray cluster are taken by others; waiting for one",
                    processors)  # fmt: skip
    actors = gpus if device.type == "cuda" else processors
    return RayEngine(device, processors_of_nodes(device.type), actors)
