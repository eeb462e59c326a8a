"""`assign` beside the bare forward, decoding alone, and the article's loop, in one run.

Rounds of each alternate, because the machine's speed drifts; what is compared are medians.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.speeding.article_loop import ArticleFinder
from benchmarks.speeding.forwards import bare_forwards, rate
from benchmarks.speeding.scene import draw_folder, fit_run, has_compiler
from clusterkit import assign
from clusterkit.config import ImageConfig
from clusterkit.data.loading import load_batches
from clusterkit.data.processes import reading_processes
from clusterkit.formats.run import Run
from clusterkit.models.siamese import FactoredSiamese

# Width, height, pictures drawn, and pictures that assign gets.
_SMALL = (500, 375, 200, 1600)
_LARGE = (2048, 2048, 40, 400)


def measure(folder: Path, rounds: int = 3, scale: float = 1.0) -> dict[str, float]:
    """Return figures by name; `scale` below 1 takes fewer pictures.

    Parameters
    ----------
    folder : path
        Where pictures are drawn and a run is fitted.
    rounds : int
        Of each measurement.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    run = Run.load(fit_run(folder))
    inputs = {}
    for name, (width, height, distinct, count) in (("small", _SMALL), ("large", _LARGE)):
        count = max(64, int(count * scale))
        inputs[name] = draw_folder(folder / name, count, width, height, min(distinct, count))
    forwards = bare_forwards("resnet34", 224, compiled=has_compiler())
    for forward in forwards.values():
        forward()
        forward()
    finder, queries = ArticleFinder(run), sorted(inputs["small"].iterdir())[:3]
    steps = {f"forward {name}": lambda f=f: rate(f) for name, f in forwards.items()}
    for name, pictures in inputs.items():
        steps[f"decode {name}"] = lambda p=pictures: decode_rate(p)
        steps[f"assign {name}"] = lambda p=pictures: assign_rate(run, p, folder)
    steps["article queries"] = lambda: _queries(finder, queries)
    figures = medians(steps, rounds)
    bare = max(figures[f"forward {n}, images/s"] for n in forwards if n != "clusterkit")
    figures["limit, images/s"] = bare
    for name in inputs:
        figures[f"assign {name} ÷ limit"] = figures[f"assign {name}, images/s"] / bare
    figures["assign small ÷ clusterkit's own forward"] = (
        figures["assign small, images/s"] / figures["forward clusterkit, images/s"]
    )
    figures["queries ÷ the article's loop"] = (
        figures["assign small, images/s"] / figures["article queries, images/s"]
    )
    return figures | _pairs(run)


def medians(steps: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return "name, images/s" → the median of each step's rates, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(step())
    return {f"{name}, images/s": statistics.median(v) for name, v in found.items()}


def assign_rate(run: Run, pictures: Path, folder: Path) -> float:
    """Return images a second of `assign`, as its summary has them."""
    result = assign(run, pictures, out=folder / "out.csv", fresh=True)
    return result.summary["images_per_second"]


def decode_rate(pictures: Path) -> float:
    """Return images a second through the worker processes, with nothing else to do."""
    places = [(str(p), None) for p in sorted(pictures.iterdir())]
    started = time.perf_counter()
    for _ in load_batches(places, ImageConfig(size=224), 32, reading_processes()):
        pass
    return len(places) / (time.perf_counter() - started)


def _queries(finder: ArticleFinder, queries: list[Path]) -> float:
    started = time.perf_counter()
    for query in queries:
        finder.predict(query)
    return len(queries) / (time.perf_counter() - started)


def _pairs(run: Run, queries: int = 256, exemplars: int = 2000) -> dict[str, float]:
    """Return pairs a second of the similarity, and of a plain cosine of the same features."""
    siamese = FactoredSiamese.from_head(run.networks.siamese_head)
    size = len(siamese.first)
    rng = torch.Generator().manual_seed(0)
    few, many = (torch.randn(n, size, generator=rng) for n in (queries, exemplars))
    projected = siamese.project(few), siamese.project(many)
    unit_few, unit_many = (torch.nn.functional.normalize(f) for f in (few, many))
    pairs = queries * exemplars
    logits = pairs / _best(lambda: siamese.logits(*projected))
    cosine = pairs / _best(lambda: unit_few @ unit_many.T)
    return {"similarity, pairs/s": logits, "cosine, pairs/s": cosine,
            "similarity ÷ cosine": logits / cosine}  # fmt: skip


def _best(step, times: int = 5) -> float:
    seconds = []
    with torch.inference_mode():
        for _ in range(times):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
    return float(np.min(seconds))
