"""The Ray engine: batches are computed by a pool of actors on the nodes of a cluster."""

import logging
import os
import pickle
import signal
import socket
import threading
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
from clusterkit.inference.ray_nodes import check_nodes, processors_of_nodes
from clusterkit.inference.ray_workers import (
    BatchComputer,
    BatchReader,
    Partition,
    ReaderAndComputer,
)
from clusterkit.limits import usable_processors

# Batches of a partition, at most: what a node loses when it dies.
_BATCHES = 16

# Partitions that each actor gets, at least: the last ones to be done are short.
_ROUNDS = 4

# Seconds to wait for an answer at an address.
_KNOCKING = 10

# Bytes of a cluster of this machine alone: results are small, and pixels do not travel.
_STORE = 256 << 20


@contextmanager
def connected(address: str | None, config: Config) -> Iterator["RayEngine"]:
    """Connect to a cluster for a block; see `open_engine`."""
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        with _quiet():
            yield _engine(config)
    finally:
        if ours:
            ray.shutdown()


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
        readers = int(ray.cluster_resources().get("CPU", 1))
        read = _mapped(dataset, BatchReader, (image, counting), readers)
        return _mapped(read, BatchComputer, ([made],), self.actors, num_gpus=1)


def _mapped(dataset: Any, worker: type, given: tuple, actors: int, num_gpus: int = 0) -> Any:
    """Map the rows of a dataset by a pool of actors, which Ray restarts when they die."""
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        worker,
        fn_constructor_args=given,
        batch_size=None,
        compute=ActorPoolStrategy(min_size=1, initial_size=actors, max_size=actors),
        num_cpus=0 if num_gpus else 1,
        num_gpus=num_gpus or None,
    )


def _streamed(dataset: Any) -> Iterator[tuple[int, Any]]:
    for rows in dataset.iter_batches(batch_size=None, batch_format="numpy"):
        for number, found in zip(rows["number"], rows["found"], strict=True):
            value = pickle.loads(found)
            if number < 0:
                raise value
            yield int(number), value


def _partitions(
    refs: list[ImageRef], batch_size: int, skip: set[int], actors: int
) -> list[Partition]:
    numbers = [i for i in range(-(-len(refs) // batch_size)) if i not in skip]
    size = min(_BATCHES, max(1, len(numbers) // (_ROUNDS * actors)))
    batches = [(n, refs[n * batch_size : (n + 1) * batch_size]) for n in numbers]
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def _engine(config: Config) -> RayEngine:
    import ray

    resources, wanted = ray.cluster_resources(), config.device
    gpus = int(resources.get("GPU", 0))
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{wanted}' is none of a Ray cluster; give auto, cpu or cuda")
    if wanted == "cuda" and not gpus:
        raise ConfigError("device 'cuda': the Ray cluster has no GPU; give auto or cpu")
    device = torch.device("cuda" if gpus and wanted != "cpu" else "cpu")
    actors = gpus if device.type == "cuda" else max(1, int(resources.get("CPU", 1)))
    return RayEngine(device, processors_of_nodes(device.type), actors)


def _connect(ray: Any, address: str | None) -> None:
    # A hospital's images are nobody's statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own logs are in its folder; what goes wrong is raised.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        with _own_signals():
            if address:
                _knock(address)
                ray.init(address=address, **quiet)
            else:
                ray.init(num_cpus=usable_processors(), include_dashboard=False,
                         object_store_memory=_STORE, **quiet)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        where = f"no Ray cluster can be used at {address}" if address else "Ray does not start here"
        raise ConfigError(f"{where}: {said}; start one by `ray start --head` and give --address "
                          "HOST:PORT or auto") from error  # fmt: skip


def _knock(address: str) -> None:
    """Find out whether anybody is at an address: Ray tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCKING):
            pass
    elif address not in ("auto", "local"):
        raise ValueError("this is neither auto nor HOST:PORT")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray has one of its own, which ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data from writing about itself on the terminal."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterkitError(
            "the engine ray needs Ray, which is not installed; pip install 'clusterkit[ray]'"
        ) from error
    return ray
