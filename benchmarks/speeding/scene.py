"""What the benchmarks of speed share: pictures with the grain of photographs, and a run."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("amber", "green", "violet")
_OCTAVES = 7
# Grey levels.
_NOISE = 4.0
_TINTS = np.array([[1.0, 0.8, 0.5], [0.6, 1.0, 0.6], [0.8, 0.6, 1.0]])

# Of a run on one encoder of random weights: how long a forward takes does not depend on them.
SETTINGS = {
    "image": {"size": 224},
    "model": {"backbone": "resnet34", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 5, "folds": 3},
}


def draw_jpeg(path: Path, number: int, width: int, height: int) -> None:
    """Write a JPEG (quality 90) of smooth noise over several octaves, tinted by its class.

    The power of natural images falls with the square of the frequency (Field 1987), and above it
    lies a sensor's noise: that decides how long a JPEG takes to decode.
    """
    rng, pixels = np.random.default_rng(number), np.zeros((height, width))
    for octave in range(_OCTAVES):
        cells = 2 ** (octave + 2)
        noise = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        grown = noise.resize((width, height), Image.Resampling.BILINEAR)
        pixels += np.asarray(grown) / 2**octave
    grey = 128 + 45 * pixels / pixels.std() + rng.normal(0, _NOISE, pixels.shape)
    coloured = grey[..., None] * _TINTS[number % len(CLASSES)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coloured.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def draw_folder(folder: Path, count: int, width: int, height: int, distinct: int) -> Path:
    """Fill a folder with `count` pictures, `distinct` of them drawn and the rest copies of those.

    Nothing in `assign` is quicker for a picture that was seen before.
    """
    drawn = []
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number < distinct:
            draw_jpeg(path, number, width, height)
            drawn.append(path.read_bytes())
        else:
            path.write_bytes(drawn[number % distinct])
    return folder


def fit_run(root: Path, settings: dict = SETTINGS, labelled: int = 60) -> Path:
    """Fit a run on drawn pictures, a folder for each class; returns where it is."""
    from clusterkit import fit
    from clusterkit.config import config_from_dict

    for number in range(labelled):
        place = root / "labelled" / CLASSES[number % len(CLASSES)] / f"{number}.jpg"
        draw_jpeg(place, 10_000 + number, 500, 375)
    return fit(root / "labelled", config=config_from_dict(settings), run=root / "run").path


@cache
def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler."""
    import shutil

    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))
