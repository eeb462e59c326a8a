"""`fit` by two processes against one: held-out accuracy, and images embedded in a second.

::

    python -m benchmarks.processes                       # embedding: two processes, two threads
    python -m benchmarks.processes --fit labels.csv --images DIR --config FILE.toml --seeds 3

Both kinds are done in turns, so that another program beside them takes from both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = ("weights.safetensors", "gallery.safetensors", "calibration.json", "manifest.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", type=Path, metavar="CSV")
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--config", type=Path, metavar="FILE.toml")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=512, help="Images that are embedded.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        embed(options.count)
    elif options.fit:
        for seed in range(options.seeds):
            compare_fits(options, seed)
    else:
        compare_embedding(options.count, options.rounds)


def started(module: str, arguments: list[str], processes: int, threads: int) -> str:
    """Run a module by one process, or by several of torchrun; returns what it printed."""
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "-m", "--", module]
    call = [sys.executable, *(several if processes > 1 else ["-m", module]), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.run(
        call, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def embed(count: int) -> None:
    """Print how many images a second the processes of this call embed, all together."""
    import numpy as np

    from clusterkit.config import Config
    from clusterkit.encoders.registry import load_backbone
    from clusterkit.training.cached_features import encoding
    from clusterkit.training.joining import joined
    from clusterkit.training.shards import embed_shared

    images = np.random.default_rng(0).integers(0, 255, (count, 224, 224, 3), dtype=np.uint8)
    with joined({}, "cpu") as group:
        if not group.leads:
            group.follow()
            return
        networks = encoding(load_backbone(Config().model.backbone).encoder, "cpu")
        for part in (images[:128], images):
            begun = time.perf_counter()
            embed_shared(networks, part, "cpu", lambda done, total: None)
            seconds = time.perf_counter() - begun
        group.dismiss("")
    print(count / seconds)


def compare_embedding(count: int, rounds: int) -> None:
    """Print images a second of two processes and of two threads, and their ratio, each round."""
    for _ in range(rounds):
        arguments = ["--embed", "--count", str(count)]
        two, one = (
            float(started("benchmarks.processes", arguments, processes, threads))
            for processes, threads in ((2, 1), (1, 2))
        )
        print(f"two processes {two:.1f}, two threads {one:.1f} images/s; ratio {two / one:.2f}",
              flush=True)  # fmt: skip


def compare_fits(options: argparse.Namespace, seed: int) -> None:
    """Print held-out accuracy, and whether the files are the same."""
    with tempfile.TemporaryDirectory() as folder:
        said = []
        for processes in (1, 2):
            arguments = ["fit", str(options.fit), "--run", f"{folder}/{processes}", "--seed",
                         str(seed), "--json", "-q"]  # fmt: skip
            for name in ("images", "config"):
                if getattr(options, name):
                    arguments += [f"--{name}", str(getattr(options, name))]
            begun = time.perf_counter()
            summary = json.loads(started("clusterkit", arguments, processes, 1))
            said.append((summary["metrics"], time.perf_counter() - begun))
        same = all(
            Path(folder, "1", name).read_bytes() == Path(folder, "2", name).read_bytes()
            for name in FILES
        )
    (one, seconds), (two, together) = said
    print(f"seed {seed}: one process {one['accuracy']:.3f} in {seconds:.0f} s, two "
          f"{two['accuracy']:.3f} in {together:.0f} s, of {one['held_out_images']} held-out "
          f"images; files {'the same' if same else 'differ'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
