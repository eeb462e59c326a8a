"""Seconds to equal held-out accuracy: `clusterkit.fit` and the article's two fastai Learners.

``python -m benchmarks.speeding.fitting [--full]``: malaria and bccd, 20 labels a class (--full: and
100), SqueezeNet at 224 pixels, 2 threads, the same weights and images for both.

Ours is all of `fit` with its default settings: reading, both models, the folds and calibration
that the article has nothing of. The article's is the training of its classifier until it is first
as accurate on held-out patients as ours, and of its Siamese model for as many epochs (its
article trains both alike). Where its classifier never gets there in 12 epochs, the time is that
to its own best epoch, and the figure's name says so.

Run it with ``OMP_WAIT_POLICY=passive``: where other programs use the cores too, or the machine is a
virtual one, OpenMP threads that spin while they wait for each other take ten times as long.
"""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.protocol import data_folder, draw, weights_file
from clusterkit import assign, fit, read_manifest
from clusterkit.config import config_from_dict

_EPOCHS = 12

# Images of each class that accuracy is measured on, and epochs that the Siamese model is timed on.
_HELD_OUT = 100
_TIMED = 2


def measure(quick: bool) -> dict[str, float]:
    """Return figures by name: ratios, and what they are made of.

    Parameters
    ----------
    quick : bool
        20 labels a class and bccd alone.
    """
    torch.set_num_threads(2)
    found: dict[str, float] = {}
    for name in ("bccd",) if quick else ("malaria", "bccd"):
        for k in (20,) if quick else (20, 100):
            found |= compare(name, k)
    return found


def compare(name: str, k: int) -> dict[str, float]:
    """Fit both to `k` images a class of a data set; return seconds, accuracies and the ratio."""
    from benchmarks.speeding.article_fit import siamese_seconds, train_classifier

    train, rest = draw(read_manifest(data_folder() / name / "labels.csv"), k, 0)
    # In random order, so that the first of each class are a sample of it.
    rest = rest.sample(frac=1, random_state=0).groupby("label").head(_HELD_OUT)
    ours, reached = _ours(name, train, rest)
    epochs = train_classifier(train, rest, weights_file(), _EPOCHS)
    enough = epochs.accuracy >= reached
    stop = int(enough.argmax() if enough.any() else epochs.accuracy.argmax())
    siamese = siamese_seconds(train, weights_file(), _TIMED) / _TIMED * (stop + 1)
    article = float(epochs.seconds[stop]) + siamese
    of = f"fit, {name}, {k} a class"
    never = "" if enough.any() else " (never as accurate: to its own best)"
    return {
        f"{of}: ours, s": ours,
        f"{of}: ours, accuracy": reached,
        f"{of}: article, s": article,
        f"{of}: article's classifier alone, s": float(epochs.seconds[stop]),
        f"{of}: article, epochs": stop + 1,
        f"{of}: article, accuracy": float(epochs.accuracy[stop]),
        f"{of}: article ÷ ours{never}": article / ours,
    }


def _ours(name: str, train: pd.DataFrame, held_out: pd.DataFrame) -> tuple[float, float]:
    """Return the seconds of `fit` and the accuracy of `assign`."""
    config = config_from_dict({
        "device": "cpu",
        "data": {"images": str(data_folder() / name)},
        "model": {"backbone": "squeezenet1_0", "weights": str(weights_file())},
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        labels, images = Path(folder) / "labels.csv", Path(folder) / "images.csv"
        train[["image", "label", "group"]].to_csv(labels, index=False)
        held_out[["image", "group"]].to_csv(images, index=False)
        start = time.perf_counter()
        run = fit(labels, config=config, run=Path(folder) / "run")
        seconds = time.perf_counter() - start
        table = assign(run, images, config=config).table.set_index("image")
    truth = held_out.set_index("image")["label"].loc[table.index]
    return seconds, float((table["predicted_label"] == truth).mean())


if __name__ == "__main__":
    for figure, value in measure(quick="--full" not in sys.argv).items():
        print(f"{value:10.3f}  {figure}")
