"""How `assign` grows: peak memory at 1k, 10k and 100k images, time for n, 2n and 4n.

Each figure is from a fresh process that does nothing but one `assign` of distinct small images
under one run (resnet34 of random weights, heads only). Times are with the real encoder. Memory is
measured with a cheap one in its place, its weights kept in memory: 100,000 forwards take longer
than anybody waits, and what they need is the same for every batch.

    python -m benchmarks.speeding.growth --quick

prints the figures of `measure` as JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32
CLASSES = 4

SETTINGS = {
    "image": {"size": SIZE},
    "model": {"backbone": "resnet34", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 2, "folds": 3},
}


def draw_images(folder: Path, first: int, count: int) -> None:
    """Write images number `first` to `first` + `count` as PNG: smooth noise on a class's colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 160, (8, 8, 3)).astype(np.uint8)
        pixels[:, :, number % CLASSES % 3] //= 1 + number % CLASSES
        image = Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        image.save(folder / f"image-{number:06d}.png", compress_level=1)


def draw_nested(root: Path, sizes: list[int]) -> dict[int, Path]:
    """Write `max(sizes)` images in folders that lie in each other, one for each size."""
    folders, folder, depth = {}, root, sorted(sizes, reverse=True)
    for size, inner in zip(depth, [*depth[1:], 0], strict=True):
        draw_images(folder, inner, size - inner)
        folders[size], folder = folder, folder / "in"
    return folders


def fit_run(root: Path, labelled: int) -> Path:
    """Fit a run to so many drawn images, in a class folder each."""
    from clusterkit import fit
    from clusterkit.config import config_from_dict

    for number in range(labelled):
        # Numbers below 0 are no seeds, and numbers from 0 are drawn for `assign`.
        name = 10_000_000 + number
        draw_images(root / "labelled" / f"class-{name % CLASSES}", name, 1)
    return fit(root / "labelled", config=config_from_dict(SETTINGS), run=root / "run").path


def assign_once(run: Path, images: Path, out: Path, cheap: bool) -> dict[str, float]:
    """Assign in this process; returns what it cost.

    Returns
    -------
    dict: ``seconds`` of `assign` alone; ``cpu_seconds`` that this process and its workers computed
    meanwhile, which other work on the machine disturbs less; ``main_mib``, the highest resident
    memory of this process (on Linux VmHWM, which, unlike ``ru_maxrss``, is not inherited from the
    process that started it); ``worker_mib``, that of the largest single worker process, with the
    pages that it shares with this one: ``RUSAGE_CHILDREN`` gives the largest child, not a sum.
    """
    from clusterkit import assign
    from clusterkit.formats.run import Run

    loaded = Run.load(run)
    if cheap:
        loaded.networks = replace(loaded.networks, encoder=_cheap_encoder(loaded.networks.encoder))
    before, started = _cpu_seconds(), time.perf_counter()
    assign(loaded, images, out=out, fresh=True)
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - before
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu, "main_mib": _peak_mib(), "worker_mib": worker}


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _cheap_encoder(real):
    """A fixed projection of an image's pixels, 8 by 8, to as many channels as the real maps."""
    import torch
    from torch.nn import functional

    class Cheap(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Its weights are part of what `assign` holds in memory.
            self.real = real
            channels = [m.shape[1] for m in real(torch.zeros(1, 3, SIZE, SIZE))]
            generator = torch.Generator().manual_seed(0)
            self.maps = [torch.randn(c, 192, 1, 1, generator=generator) / 14 for c in channels]

        def forward(self, batch):
            small = functional.adaptive_avg_pool2d(batch, 8).reshape(len(batch), 192, 1, 1)
            return [functional.conv2d(small, weight.to(small.dtype)).relu() for weight in self.maps]

    with torch.inference_mode():
        return Cheap().eval()


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes.
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _in_child(*arguments: str) -> dict:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speeding.growth", *arguments]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(found.splitlines()[-1])


def measure(quick: bool = False, folder: Path | None = None) -> dict[str, float]:
    """Measure memory and time of `assign` for growing inputs.

    Parameters
    ----------
    quick : bool
        A tenth of the images.
    folder : path or None
        Where images are drawn, and kept for the next call; None: a temporary folder.

    Returns
    -------
    dict: ``memory_main_<n>_mib`` and ``memory_worker_<n>_mib`` (see `assign_once`) for each n,
    ``memory_main_ratio`` and ``memory_tree_ratio`` (the main process and all its workers, counted
    with what they share), largest n to smallest; ``seconds_<n>``, ``cpu_seconds_<n>``, and
    ``seconds_ratio`` and ``cpu_seconds_ratio``, 4n to n.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return measure(quick, Path(made))
    scale = 10 if quick else 1
    memory = [n // scale for n in (1000, 10_000, 100_000)]
    times = [n // scale for n in (5000, 10_000, 20_000)]
    run = folder / "run"
    if not run.is_dir():
        _in_child("--prepare", str(folder), *map(str, {*memory, *times}))
    place = folder / "images"
    folders = {}
    for size in sorted({*memory, *times}, reverse=True):
        folders[size], place = place, place / "in"
    return _memory(run, folders, memory, folder) | _times(run, folders, times, folder)


def _memory(run: Path, folders: dict[int, Path], sizes: list[int], out: Path) -> dict[str, float]:
    from clusterkit.data.processes import reading_processes

    found: dict[str, float] = {}
    main, tree = [], []
    for n in sizes:
        cost = _in_child("--assign", str(run), str(folders[n]), str(out / f"memory-{n}.csv"),
                         "--cheap")  # fmt: skip
        found[f"memory_main_{n}_mib"] = cost["main_mib"]
        found[f"memory_worker_{n}_mib"] = cost["worker_mib"]
        found[f"memory_seconds_{n}"] = cost["seconds"]
        main.append(cost["main_mib"])
        tree.append(cost["main_mib"] + reading_processes() * cost["worker_mib"])
    found["memory_main_ratio"] = main[-1] / main[0]
    found["memory_tree_ratio"] = tree[-1] / tree[0]
    return found


def _times(run: Path, folders: dict[int, Path], sizes: list[int], out: Path) -> dict[str, float]:
    costs = {n: _in_child("--assign", str(run), str(folders[n]), str(out / f"time-{n}.csv"))
             for n in sizes}  # fmt: skip
    found: dict[str, float] = {}
    for name in ("seconds", "cpu_seconds"):
        found |= {f"{name}_{n}": cost[name] for n, cost in costs.items()}
        found[f"{name}_ratio"] = costs[sizes[-1]][name] / costs[sizes[0]][name]
    return found


def main() -> None:
    """Parse the command line: a measurement, or a step of it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument("--folder", type=Path, help="keep the images here for the next call")
    parser.add_argument("--prepare", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--assign", nargs=3, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cheap", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        folder = Path(given.prepare[0])
        draw_nested(folder / "images", [int(n) for n in given.prepare[1:]])
        print(json.dumps({"run": str(fit_run(folder, 200))}))
    elif given.assign:
        print(json.dumps(assign_once(*given.assign, given.cheap)))
    else:
        print(json.dumps(measure(given.quick, given.folder), indent=1))


if __name__ == "__main__":
    main()
