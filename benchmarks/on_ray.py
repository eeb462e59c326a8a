"""`assign` on a Ray cluster of two nodes of a processor each, beside two processes of this machine.

    python -m benchmarks.on_ray RUN IMAGES --work DIR

First this machine alone, then the cluster on the same processors, with what Ray itself costs; all
caches of the disk are warm for the second. The tables must be the same bytes. Beside images a
second by the clock stand seconds of a processor, of all processes of each (also Ray's own): others
that use the machine change those little. Extra: ray.
"""

import argparse
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from clusterkit import Run, assign
from clusterkit.config import override

# Bytes of each node's store, as little as Ray allows.
_STORE = 80 << 20


@dataclass(frozen=True)
class Speed:
    """Of one engine.

    Attributes
    ----------
    running : float
        Images a second of the middle half: at the ends processes start or wait.
    busy : float
        Seconds of a processor for an image of the middle half, of all processes together.
    whole : float
        Images a second from the call to its end.
    """

    running: float
    busy: float
    whole: float


class Clock:
    """Notes when a quarter and three quarters of the images were done, as progress of a call."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.first = 0.0
        self.marks: list[tuple[float, int, dict[int, float]]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of it."""
        if stage != "assign":
            return
        now = time.perf_counter()
        self.first = self.first or now - self.started
        if len(self.marks) < 2 and done >= (0.25, 0.75)[len(self.marks)] * total:
            self.marks.append((now, done, _processor_seconds()))

    def speed(self, images: int) -> Speed:
        """Return what was measured of a call that has just ended."""
        (start, before, busy_before), (end, after, busy) = self.marks
        used = sum(seconds - busy_before.get(pid, 0.0) for pid, seconds in busy.items())
        count, whole = after - before, time.perf_counter() - self.started
        return Speed(count / (end - start), used / count, images / whole)


def _processor_seconds() -> dict[int, float]:
    """Return the seconds of a processor that each process of this program has used, by its id."""
    this, found = psutil.Process(), {}
    for process in [this, *this.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def main() -> None:
    """Measure both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    local = _measured("local", options)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False})  # fmt: skip
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=_STORE)
    there = _measured("ray", options, engine="ray", address=cluster.address)
    cluster.shutdown()
    tables = [(options.work / name / "assignments.csv").read_bytes() for name in ("local", "ray")]
    print(f"ray / local: {there.running / local.running:.2f} once it runs, "
          f"{local.busy / there.busy:.2f} by seconds of a processor, "
          f"{there.whole / local.whole:.2f} in all; "
          f"same bytes: {tables[0] == tables[1]}")  # fmt: skip


def _measured(name: str, options: argparse.Namespace, **how: Any) -> Speed:
    run = Run.load(options.run)
    config, clock = override(run.config, assign__workers=2), Clock()
    found = assign(run, options.images, config=config, out=options.work / name / "assignments.csv",
                   fresh=True, overwrite=True, progress=clock, **how)  # fmt: skip
    speed = clock.speed(len(found.table))
    print(f"{name}: first images after {clock.first:.1f} s; {speed.running:.1f} a second of the "
          f"middle half, each {1000 * speed.busy:.1f} ms of a processor; "
          f"{len(found.table) / speed.whole:.1f} s in all", flush=True)  # fmt: skip
    return speed


if __name__ == "__main__":
    main()
