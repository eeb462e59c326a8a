"""The processes that fit one run: rank 0 leads, the others do their share of what it says.

The one that leads runs `fit` as it would alone: it lists, reserves, decides, logs and writes. What
takes long it shares: it names a function (`tell`), the others run it, and both meet in `scatter`,
`gather` and `broadcast`. In one process these hand back what they are given.
"""

import io
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from clusterkit.errors import RankError, shown
from clusterkit.launched import Launched

log = logging.getLogger("clusterkit")

_Value = TypeVar("_Value")

# A process waits as long as the one that leads lists images or fits heads: days, if need be. One
# that ends is known at once, because its connections are closed.
_LONG = timedelta(days=200)

# Within it all have to come, and to take a step of training.
PATIENCE = timedelta(minutes=30)

# Seconds after which one that waits for the others to come says so.
UNEXPLAINED = 30.0

# How long a process that never met the others asks who says why.
_ASKED = timedelta(seconds=10)

# Seconds between two looks at whether a signal came.
_LOOK = 0.1

# Seconds in which a process that failed says so before others say that it is gone.
_FIRST_WORD = 1.0

# What a process gives that only receives.
_NOTHING: tuple[None, tuple[str]] = (None, ("",))

# Fits of this process so far, the same number in each: none meets what another left in the store.
_fits = itertools.count()


class ProcessGroup:
    """Processes that work on one fit; by default this one alone.

    Parameters
    ----------
    own : Launched

    Attributes
    ----------
    rank, size : int
    hosts : list of str
        Names of the machines, in the order of ranks.
    images : (N, S, S, 3) uint8 or None
        That all have, see `share_images`.
    """

    def __init__(self, own: Launched | None = None) -> None:
        own = own or Launched()
        self.rank, self.size = own.rank, own.size
        self.hosts = [""] * own.size
        self.images: np.ndarray | None = None
        self._store: Any = None
        self._talk: Any = None
        self._mine = False

    @property
    def leads(self) -> bool:
        """Whether this process decides, writes and says what there is to say."""
        return self.rank == 0

    def connect(self) -> None:
        """Meet the others.

        Raises
        ------
        RankError
            They do not come.
        """
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        # Else a WORLD_SIZE that somebody left behind is half an hour of silence.
        waiting = threading.Timer(UNEXPLAINED, log.warning, (
            "rank %d of %d waits at %s for the others, %d minutes at most; if nobody has started "
            "them, unset WORLD_SIZE", self.rank, self.size, place, PATIENCE.total_seconds() // 60
        ))  # fmt: skip
        waiting.start()
        try:
            self._connect()
        except RankError as error:
            raise RankError(
                f"rank {self.rank} of {self.size} has not met the others at {place} "
                f"({shown(str(error.__cause__), 200)}); start all with one launcher, and see "
                "whether one of them has ended"
            ) from error
        finally:
            waiting.cancel()

    def _connect(self) -> None:
        if not dist.is_initialized():
            self._store = _uninterrupted(lambda: _store(self.rank, self.size, PATIENCE))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            _uninterrupted(lambda: dist.init_process_group(
                backend, store=self._store, rank=self.rank, world_size=self.size, timeout=PATIENCE
            ))  # fmt: skip
            self._mine = True
        self._talk = _uninterrupted(lambda: dist.new_group(backend="gloo", timeout=_LONG))

    def close(self) -> None:
        """Leave the others."""
        if self._mine:
            dist.destroy_process_group()
        self._mine, self._talk = False, None

    def has_the_word(self) -> bool:
        """Whether this is the first process that asks, and so says how the fit ended.

        Where nobody can be asked, each says it.
        """
        try:
            store = self._store or _store(self.rank, self.size, _ASKED)
            return bool(store.add("said", 1) == 1)
        except (RuntimeError, OSError):
            return True

    def tell(self, task: Callable[..., None], *arguments: Any) -> None:
        """Let the others call ``task(group, *arguments)``; this one does its own part of it.

        Parameters
        ----------
        task : callable
            A function of a module, which all have.
        *arguments
            Tensors and networks come to the others on the CPU.
        """
        if self.leads:
            self.broadcast((task, arguments))

    def follow(self) -> str:
        """Do what the one that leads says; returns what it says at the end (`dismiss`)."""
        while True:
            task, arguments = self.broadcast(_NOTHING)
            if task is None:
                return str(arguments[0])
            task(self, *arguments)

    def dismiss(self, outcome: str) -> None:
        """Let the others know the outcome, and that nothing is left to do."""
        self.broadcast((None, (outcome,)))

    def broadcast(self, value: _Value) -> _Value:
        """Return the value of the process that leads."""
        if self.size == 1:
            return value
        if self.leads:
            data = _packed(value)
            self._run(lambda: dist.broadcast(torch.tensor([len(data)]), 0, group=self._talk))
            self._run(lambda: dist.broadcast(data, 0, group=self._talk))
            return value
        length = torch.zeros(1, dtype=torch.int64)
        self._run(lambda: dist.broadcast(length, 0, group=self._talk))
        data = torch.empty(int(length), dtype=torch.uint8)
        self._run(lambda: dist.broadcast(data, 0, group=self._talk))
        return _unpacked(data)

    def scatter(self, values: list[_Value] | None = None) -> _Value:
        """Return the own one of `values`, of which the process that leads has one for each."""
        if self.leads:
            assert values is not None, "the process that leads has them"
            for rank in range(1, self.size):
                self._send(values[rank], rank)
            return values[0]
        return self._receive(0)

    def gather(self, value: _Value) -> list[_Value]:
        """Return the values of all in the order of ranks; to the others, their own."""
        if not self.leads:
            self._send(value, 0)
            return [value]
        return [value, *(self._receive(rank) for rank in range(1, self.size))]

    def _send(self, value: Any, rank: int) -> None:
        data = _packed(value)
        self._run(lambda: dist.send(torch.tensor([len(data)]), rank, group=self._talk), rank)
        self._run(lambda: dist.send(data, rank, group=self._talk), rank)

    def _receive(self, rank: int) -> Any:
        length = torch.zeros(1, dtype=torch.int64)
        self._run(lambda: dist.recv(length, rank, group=self._talk), rank)
        data = torch.empty(int(length), dtype=torch.uint8)
        self._run(lambda: dist.recv(data, rank, group=self._talk), rank)
        return _unpacked(data)

    def _run(self, exchange: Callable[[], Any], rank: int | None = None) -> None:
        who = "another process" if rank is None else f"rank {rank} ({self.hosts[rank]})"
        _uninterrupted(exchange, who)


def _uninterrupted(exchange: Callable[[], _Value], other: str = "another process") -> _Value:
    """Wait for an exchange where signals are heard: within it, Python would not see them.

    Raises
    ------
    RankError
        The other one is gone.
    """
    found: list[_Value] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(exchange())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
    if failed:
        raise lost(other) from failed[0]
    return found[0]


def lost(other: str = "another process") -> RankError:
    """Return the error for a process that is gone; the reason is known to whoever started it."""
    # If it failed and has words, or a signal ended all, that comes first.
    time.sleep(_FIRST_WORD)
    return RankError(
        f"{other} of this fit has ended without a word (killed, out of memory, or its machine is "
        "gone: the launcher's lines say which); give the same command again, and fit goes on from "
        "what it had done"
    )


def _store(rank: int, size: int, patience: timedelta) -> PrefixStore:
    """Return the store that the launcher, or rank 0, keeps for all."""
    store, _, _ = next(rendezvous("env://", rank, size, timeout=patience))
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"clusterkit-{again}-{next(_fits)}", store)


def _packed(value: Any) -> torch.Tensor:
    stream = io.BytesIO()
    torch.save(value, stream)
    return torch.from_numpy(np.frombuffer(stream.getbuffer(), dtype=np.uint8))


def _unpacked(data: torch.Tensor) -> Any:
    # From a process of this fit: whoever started one started all.
    return torch.load(io.BytesIO(data.numpy().tobytes()), "cpu", weights_only=False)


_current = ProcessGroup()


def current_group() -> ProcessGroup:
    """Return the processes that the fit in progress has; this one alone where none is."""
    return _current


def set_current(group: ProcessGroup) -> None:
    """Make a group the one that `current_group` returns."""
    global _current
    _current = group
