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
    seconds : dict of str to float
    peak : dict of str to float
        MB that the process held at most, whatever was there before the stage included.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = field(default_factory=time.perf_counter)

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
        now = time.perf_counter()
        name = self._open[-1] if self._open else "the rest"
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self.peak[name] = max(self.peak.get(name, 0.0), peak_mb())
        self._since = time.perf_counter()

    def found(self) -> dict[str, dict[str, float]]:
        """Return seconds and MB by stage."""
        self._note()
        return {
            name: {"seconds": round(self.seconds[name], 3), "mb": round(self.peak[name])}
            for name in self.seconds
        }


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
