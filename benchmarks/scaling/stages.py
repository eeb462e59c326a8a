"""Seconds and peak memory of the stages of one process."""

import importlib
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

_MB = 1 << 20


@dataclass
class Stages:
    """What each stage took; a stage within another counts for itself alone.

    Attributes
    ----------
    seconds, processor : dict of str to float
        By the clock, and of the processor: others beside it make the one longer, not the other.
    peak : dict of str to float
        MB that the process held at most, whatever was there before the stage included.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: tuple[float, float] = field(default_factory=lambda: _now())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done within for a stage of this name."""
        self._note()
        self._open.append(name)
        try:
            yield
        finally:
            self._note()
            self._open.pop()

    def watch(self, place: str, name: str) -> None:
        """Count each call of a function for a stage; `place` is e.g. ``package.module:function``.

        Of a function that yields, what is done until its last item.
        """
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *owners, last = path.split(".")
        for part in owners:
            owner = getattr(owner, part)
        bound = isinstance(vars(owner).get(last), classmethod)
        wrapped = self._watched(getattr(owner, last), name)
        setattr(owner, last, staticmethod(wrapped) if bound else wrapped)

    def _watched(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return watched

    def _note(self) -> None:
        (clock, processor), before = _now(), self._since
        name = self._open[-1] if self._open else "the rest"
        self.seconds[name] = self.seconds.get(name, 0.0) + clock - before[0]
        self.processor[name] = self.processor.get(name, 0.0) + processor - before[1]
        self.peak[name] = max(self.peak.get(name, 0.0), peak_mb())
        self._since = _now()

    def found(self) -> dict[str, dict[str, float]]:
        """Return seconds and MB by stage."""
        self._note()
        return {
            name: {
                "seconds": round(seconds, 3),
                "processor": round(self.processor[name], 3),
                "mb": round(self.peak[name]),
            }
            for name, seconds in self.seconds.items()
        }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def peak_mb() -> float:
    """Return the most memory that this process has held since it was asked last, in MB.

    Where the system is not Linux: since it began.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        highest = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        Path("/proc/self/clear_refs").write_text("5")
        return int(highest.split()[1]) * 1024 / _MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB
