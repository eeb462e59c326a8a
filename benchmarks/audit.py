"""How many cards a second does `audit` draw, beside the bare forward and backward pass?

Drawn cells as JPEGs of 500×375, resnet18 at 224 pixels. The bare rate is that of one forward and
one backward pass an image, on tensors in memory, in batches of 16: what a gradient method without
anything around it would reach. A card of `audit` is a decoded image, its thumbnail, a classifier
CAM, up to three labelled images with two pair CAMs each, and all of it written to disk.

    python -m benchmarks.audit --out audit.json
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from clusterkit import assign, fit
from clusterkit.auditing.audit import audit
from clusterkit.config import config_from_dict, override
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.sample import make_sample

_SETTINGS = {
    "image": {"size": 224},
    "model": {"backbone": "resnet18", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 1, "folds": 3},
}


def bare_rate(batches: int = 6, batch: int = 16) -> float:
    """Return images a second through one forward and one backward pass of resnet18."""
    encoder, images = empty_encoder("resnet18").eval(), torch.randn(batch, 3, 224, 224)
    started = 0.0
    for number in range(batches + 1):
        if number == 1:
            started = time.perf_counter()
        sum(maps.mean() for maps in encoder(images.requires_grad_())).backward()
    return batches * batch / (time.perf_counter() - started)


def prepare(root: Path) -> Path:
    """Draw the sample as JPEGs of 500×375, fit heads and assign; returns the run."""
    make_sample(root / "drawn")
    for path in (root / "drawn").rglob("*.png"):
        try:
            image = Image.open(path).convert("RGB").resize((500, 375))
        except OSError:
            continue
        # Contents decide what a file is; names stay those of the tables.
        image.save(path, format="JPEG", quality=90)
    run = fit(root / "drawn" / "labels.csv", config=config_from_dict(_SETTINGS), run=root / "run")
    assign(run, root / "drawn" / "unlabeled.csv", config=run.config)
    return run.path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = prepare(Path(folder))
        from clusterkit import Run

        run = Run.load(path)
        config = override(run.config, audit__limit=options.limit)
        before = bare_rate()
        stamps = []
        started = time.perf_counter()
        audit(run, config=config, progress=lambda *_: stamps.append(time.perf_counter()))
        seconds = time.perf_counter() - started
        after = bare_rate()
    bare = (before + after) / 2
    figures = {
        "bare forward+backward, images/s": bare,
        "cards/s, drawing alone": options.limit / (stamps[-1] - started),
        "cards/s, whole command": options.limit / seconds,
        "drawing ÷ bare": options.limit / (stamps[-1] - started) / bare,
        "threads": torch.get_num_threads(),
    }
    for name, value in figures.items():
        print(f"{name:36s} {value:8.2f}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
