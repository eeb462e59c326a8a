"""Where images are computed: on this machine, or on those of a Ray cluster."""

from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from clusterkit.config import Config, ImageConfig
from clusterkit.data.features.vector_lookup import GivenVectors
from clusterkit.data.loading import ImageRef
from clusterkit.errors import ConfigError
from clusterkit.inference.batch_model import BatchModel, NumberedArrays
from clusterkit.inference.workers import compute
from clusterkit.models.networks import choose_device, processor_of

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """Computes batches of images, wherever.

    Attributes
    ----------
    device : torch.device
    processor : str
        See `processor_of`; others may round otherwise.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def processor(self) -> str: ...

    def compute(
        self,
        make: Callable[[], BatchModel],
        image: ImageConfig,
        refs: list[ImageRef],
        batch_size: int,
        skip: Collection[int] = (),
    ) -> Generator[NumberedArrays, None, None]:
        """Yield (number, arrays) of the batches of images but those in `skip`, as they are done.

        Parameters
        ----------
        make : callable
            Makes the model, in each process that computes.
        image : ImageConfig
            How images are read for it.
        refs : list of (path, frame)
        batch_size : int
        skip : collection of int
        """


@dataclass(frozen=True)
class LocalEngine:
    """This machine; see `inference.workers`.

    Attributes
    ----------
    device : torch.device
    workers : int or None
        Processes; None: by the machine.
    given : GivenVectors or None
        Features of the images that will be computed, for a run that was fitted on such.
    """

    device: torch.device
    workers: int | None = None
    given: GivenVectors | None = None

    @property
    def processor(self) -> str:
        """The kind of processor of this machine."""
        return processor_of(self.device)

    def compute(
        self,
        make: Callable[[], BatchModel],
        image: ImageConfig,
        refs: list[ImageRef],
        batch_size: int,
        skip: Collection[int] = (),
    ) -> Generator[NumberedArrays, None, None]:
        """Yield (number, arrays) of the batches of images but those in `skip`, as they are done."""
        if len(skip) * batch_size < len(refs):
            yield from compute(make(), refs, batch_size, skip, self.workers, self.given)


def open_engine(
    name: EngineName, address: str | None, config: Config
) -> AbstractContextManager[Engine]:
    """Return the engine of a name for a block; that of Ray is connected to for so long.

    Parameters
    ----------
    name : local or ray
    address : str or None
        Of a Ray cluster: auto or HOST:PORT; None: the one that ``RAY_ADDRESS`` names, or one of
        this machine alone.
    config : Config

    Raises
    ------
    ClusterkitError
        There is no such engine, or no cluster at the address.
    """
    if name == "ray":
        from clusterkit.inference.ray_engine import connected

        return connected(address, config)
    if name != "local":
        raise ConfigError(f"engine '{name}' is neither local nor ray")
    if address is not None:
        raise ConfigError(f"--address {address} is of a Ray cluster; give --engine ray too")
    return nullcontext(LocalEngine(choose_device(config.device), config.assign.workers))
