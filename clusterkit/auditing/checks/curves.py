"""Deletion and insertion (Petsiuk et al., arXiv 1806.07421): does the evidence lie where the CAM
says? Take the hottest places away and the score should fall, bring them alone and it should rise.

What is taken away is blurred and not blackened: black is a thing to see. The order to beat is
that of a random map as smooth as a CAM, because blobs and single pixels act very differently.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

# Parts of the image that have changed at each step. The two ends need no order.
FRACTIONS = (0.1, 0.25, 0.5, 0.75)
_BLUR = 1 / 10  # of the image's side

Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Curves:
    """Areas under the deletion and the insertion curve of N images, in the score's units."""

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """(N,) insertion minus deletion: the higher, the better the order."""
        return self.insertion - self.deletion


def blurred(images: np.ndarray) -> np.ndarray:
    """Blur uint8 images (N, S, S, 3) until no detail is left."""
    blur = ImageFilter.GaussianBlur(images.shape[1] * _BLUR)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def random_heats(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return n random maps (n, size, size) in [0, 1], about as smooth as a CAM."""
    grid = rng.random((n, 9, 9)).astype(np.float32)
    return np.stack([_resized(g, size) for g in grid])


def centre_blob(size: int) -> np.ndarray:
    """Return a Gaussian in the middle, (size, size) in (0, 1], a quarter of the side wide."""
    at = (np.arange(size) + 0.5) / size - 0.5
    return np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 0.25**2)).astype(np.float32)


def curves(images: np.ndarray, heats: dict[str, np.ndarray], score: Score) -> dict[str, Curves]:
    """Measure orders of places by deletion and insertion.

    Parameters
    ----------
    images : (N, S, S, 3) uint8
    heats : dict of (N, s, s) float
        The hottest places change first; equal ones by their place in the picture.
    score : callable
        uint8 (N, S, S, 3) → (N, M): M things that the model says of each image.

    Returns
    -------
    For each order `Curves` of (N, M).
    """
    plain = blurred(images)
    whole, gone = score(images), score(plain)
    return {
        name: _curves(images, plain, order, score, (whole, gone)) for name, order in heats.items()
    }


def _curves(images, plain, heats: np.ndarray, score: Score, ends) -> Curves:
    side, (whole, gone) = images.shape[1], ends
    rank = np.stack([_ranks(_resized(heat, side)) for heat in heats])
    deletion, insertion = [whole], [gone]
    for fraction in FRACTIONS:
        first = (rank < fraction)[..., None]
        deletion.append(score(np.where(first, plain, images)))
        insertion.append(score(np.where(first, images, plain)))
    return Curves(_area([*deletion, gone]), _area([*insertion, whole]))


def _area(steps: list[np.ndarray]) -> np.ndarray:
    """Integrate over the parts of the image by trapezia."""
    widths = np.diff([0.0, *FRACTIONS, 1.0])
    return sum(w * (a + b) / 2 for w, a, b in zip(widths, steps, steps[1:], strict=False))


def interval(
    values: np.ndarray, seed: int = 0, level: float = 0.95, rounds: int = 2000
) -> tuple[float, float, float]:
    """Return the mean of values (N,), N ≥ 1, and its bootstrap interval over images."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (rounds, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def _resized(heat: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(heat.astype(np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def _ranks(heat: np.ndarray) -> np.ndarray:
    """Return each place's rank, hottest first, in [0, 1)."""
    order = np.argsort(-heat, axis=None, kind="stable")
    rank = np.empty(heat.size)
    rank[order] = np.arange(heat.size) / heat.size
    return rank.reshape(heat.shape)
