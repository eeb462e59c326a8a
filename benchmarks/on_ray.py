"""`assign` on a Ray cluster of two nodes of a processor each, beside two processes of this machine.

    python -m benchmarks.on_ray RUN IMAGES --work DIR

First this machine alone, then the cluster on the same processors, with what Ray itself costs; all
caches of the disk are warm for the second. The tables must be the same bytes. Extra: ray.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

from clusterkit import Run, assign
from clusterkit.config import override

# Bytes of each node's store, as little as Ray allows.
_STORE = 80 << 20


class Clock:
    """Notes when images were done, as the progress of a call."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seen: list[tuple[float, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of it."""
        if stage == "assign":
            self.seen.append((time.perf_counter() - self.started, done))

    def rate(self) -> float:
        """Return images a second of the middle half: at the ends processes start or wait."""
        total = self.seen[-1][1]
        first, last = (
            next(at for at in self.seen if at[1] >= part * total) for part in (0.25, 0.75)
        )
        return (last[1] - first[1]) / (last[0] - first[0])


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
    print(f"ray / local: {there[0] / local[0]:.2f} once it runs, {there[1] / local[1]:.2f} in all; "
          f"same bytes: {tables[0] == tables[1]}")  # fmt: skip


def _measured(name: str, options: argparse.Namespace, **how: Any) -> tuple[float, float]:
    """Return images a second once the first are there, and from the call to its end."""
    run = Run.load(options.run)
    config, clock = override(run.config, assign__workers=2), Clock()
    assign(run, options.images, config=config, out=options.work / name / "assignments.csv",
           fresh=True, overwrite=True, progress=clock, **how)  # fmt: skip
    total = time.perf_counter() - clock.started
    running, whole = clock.rate(), clock.seen[-1][1] / total
    print(f"{name}: first images after {clock.seen[0][0]:.1f} s; {running:.1f} a second of the "
          f"middle half; {total:.1f} s in all", flush=True)  # fmt: skip
    return running, whole


if __name__ == "__main__":
    main()
