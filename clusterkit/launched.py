"""Whether this process is one of several that a launcher started, as torchrun and accelerate do.

They say so in the environment: ``WORLD_SIZE`` processes, of which this is number ``RANK``, and on
its machine number ``LOCAL_RANK``.
"""

import os
from dataclasses import dataclass

from clusterkit.errors import ConfigError


@dataclass(frozen=True)
class Launched:
    """One of several processes.

    Attributes
    ----------
    rank : int
        0 leads.
    size : int
        How many there are.
    local_rank : int
        Number on its machine: that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def follows(self) -> bool:
        """Whether it is not the one that leads, and so has nothing to say."""
        return self.rank > 0


def launched() -> Launched:
    """Return what the environment says; one process that leads where it says nothing.

    Raises
    ------
    ConfigError
        It says something that cannot be.
    """
    size = _number("WORLD_SIZE", 1)
    if size <= 1:
        return Launched()
    rank = _number("RANK", -1)
    if not 0 <= rank < size or not os.environ.get("MASTER_ADDR") or not _number("MASTER_PORT", 0):
        raise ConfigError(
            f"WORLD_SIZE={size} is set, without a fitting RANK, MASTER_ADDR and MASTER_PORT: start "
            "with torchrun or accelerate launch, or unset it"
        )
    return Launched(rank, size, max(0, _number("LOCAL_RANK", rank)))


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return otherwise
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name} is '{text[:60]}', and a launcher sets a whole number; unset "
                          "it") from None  # fmt: skip
