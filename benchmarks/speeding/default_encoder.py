"""`assign` with the default encoder: beside what limits it, and beside resnet34's `assign`.

Its forward is so quick that reading the images may be the limit. Rounds alternate, because the
machine's speed drifts; what is compared are medians.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speeding.forwards import bare_forwards, rate
from benchmarks.speeding.inference import assign_rate, decode_rate, medians
from benchmarks.speeding.scene import SETTINGS, draw_folder, fit_run, has_compiler
from clusterkit.config_sections import DEFAULT_BACKBONE
from clusterkit.formats.run import Run

# Width, height, pictures drawn, and pictures that assign gets.
_SMALL = (500, 375, 200, 1600)


def measure(folder: Path, rounds: int = 3, scale: float = 1.0) -> dict[str, float]:
    """Return figures by name; see `benchmarks.speeding.inference.measure`."""
    torch.set_num_threads(os.cpu_count() or 1)
    width, height, distinct, count = _SMALL
    count = max(128, int(count * scale))
    pictures = draw_folder(folder / "small", count, width, height, min(distinct, count))
    settings = SETTINGS | {"model": {"backbone": DEFAULT_BACKBONE, "weights": "auto"}}
    runs = {"default": Run.load(fit_run(folder / "default", settings)),
            "resnet34": Run.load(fit_run(folder / "resnet34"))}  # fmt: skip
    forwards = bare_forwards(DEFAULT_BACKBONE, 224, compiled=has_compiler())
    for forward in forwards.values():
        forward()
        forward()
    steps: dict[str, Callable[[], float]] = {
        f"default: forward {name}": lambda f=f: rate(f, 12) for name, f in forwards.items()
    }
    steps["default: decode"] = lambda: decode_rate(pictures)
    for name, run in runs.items():
        steps[f"{name}: assign"] = lambda r=run: assign_rate(r, pictures, folder)
    figures = medians(steps, rounds)
    bare = max(figures[f"default: forward {n}, images/s"] for n in forwards if n != "clusterkit")
    own, decoded = figures["default: assign, images/s"], figures["default: decode, images/s"]
    return figures | {
        "default: assign ÷ min(decode, forward)": own / min(decoded, bare),
        "default: assign ÷ resnet34's": own / figures["resnet34: assign, images/s"],
    }
