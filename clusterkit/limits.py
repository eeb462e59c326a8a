"""Processors and memory that this process may use: what a container leaves of the machine.

Linux tells of a container's limits in files of control groups, of version 2 (``cpu.max``,
``memory.max``) or 1 (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``). A group is limited by those
that it is in, too. Where a file is missing, nothing is limited by it.
"""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")

# Version 1 writes "no limit" as the largest number of whole pages.
_NO_LIMIT = 2**60


@dataclass(frozen=True)
class Memory:
    """Memory in bytes; None: the system does not say.

    Attributes
    ----------
    total : int or None
        Of the machine, or of the container where it may use less.
    free : int or None
        What can be used now, caches of files counted as free.
    limited : bool
        Whether a container's limit is below what the machine has.
    """

    total: int | None
    free: int | None
    limited: bool = False


def usable_processors(proc: Path = PROC, groups: Path = GROUPS) -> int:
    """Return how many processors this process may use: of its affinity, and of its quota.

    Parameters
    ----------
    proc, groups : Path
        Where the system keeps the files of processes and of control groups.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(proc, groups) if quota > 0]
    return max(1, min([allowed, *quotas]))


def usable_memory(proc: Path = PROC, groups: Path = GROUPS) -> Memory:
    """Return how much memory there is for this process; see `usable_processors`."""
    total, free = _machine_memory(proc)
    limited = False
    for folder in _folders("memory", proc, groups):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is None or limit >= _NO_LIMIT:
            continue
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        left = max(0, limit - max(0, used - _cached(folder)))
        limited = limited or total is None or limit < total
        total = limit if total is None else min(total, limit)
        free = left if free is None else min(free, left)
    return Memory(total, free, limited)


def address_space() -> int | None:
    """Return how many bytes this process may map (``ulimit -v``); None: as many as it likes."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _quotas(proc: Path, groups: Path) -> Iterator[float]:
    """Yield processors' worth of time that each group may use."""
    for folder in _folders("cpu", proc, groups):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        # "max", or -1 in version 1: no limit.
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _folders(controller: str, proc: Path, groups: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups, and of those that they are in."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        # The mount point of several controllers may have the name of one.
        root = root if root.is_dir() or not controllers else groups / controller
        # Within a container the path may be that outside of it: then only the root is there.
        inside = root / path.lstrip("/")
        while inside != root and root in inside.parents:
            yield inside
            inside = inside.parent
        yield root


def _machine_memory(proc: Path) -> tuple[int | None, int | None]:
    found = {}
    for line in _text(proc / "meminfo").splitlines():
        name, _, value = line.partition(":")
        number = value.removesuffix("kB").strip()
        if number.isdigit():
            found[name] = 1024 * int(number)
    total, free = found.get("MemTotal"), found.get("MemAvailable")
    if total is None and sys.platform != "win32":
        try:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            total = None
    return total, free


def _cached(folder: Path) -> int:
    """Bytes of a group's use that are files read lately, which the system gives up first."""
    found = dict(line.partition(" ")[::2] for line in _text(folder / "memory.stat").splitlines())
    # In version 1 the other name leaves out what is in groups inside of this one.
    value = found.get("total_inactive_file") or found.get("inactive_file") or ""
    return int(value) if value.isdigit() else 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
