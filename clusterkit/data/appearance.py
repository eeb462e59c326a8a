"""Appearance: statistics of an image's pixels, which no training can bend, for novelty."""

import numpy as np

# Scales of the roughness, each half the one before: of 32 pixels the last keeps 2.
_SCALES = 5
APPEARANCE = 12 + 3 * _SCALES

_LEAST_ENERGY = 1e-5


def measure_appearance(images: np.ndarray) -> np.ndarray:
    """Statistics (N, 27) per image: extremes, mean, spread and roughness of each channel.

    The roughness is the logarithm of the mean squared difference of neighbouring pixels, of the
    image and of four successive halvings: fine grain, edges, large shapes.

    Parameters
    ----------
    images : (N, S, S, 3) uint8

    Returns
    -------
    (N, 27) float32
        Maxima, minima, means, standard deviations in [0, 1], then roughness in [-11.6, 1], the
        finest scale first; three channels each.
    """
    found = np.zeros((len(images), APPEARANCE), dtype=np.float32)
    for row, image in enumerate(images):
        found[row] = _describe(image)
    return found


def _describe(image: np.ndarray) -> np.ndarray:
    # A channel's pixels side by side: sums over them are then several times quicker.
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    flat = planes.reshape(3, -1)
    pixels: np.ndarray = planes.astype(np.float32)
    mean = flat.mean(axis=1, dtype=np.float64)
    spread = np.sqrt(_energy(pixels - mean.astype(np.float32)[:, None, None]))
    numbers = [flat.max(axis=1), flat.min(axis=1), mean, spread]
    rough = []
    for _ in range(_SCALES):
        energy = np.zeros(3)
        # Below 32 pixels the last halvings have no neighbours to compare.
        if pixels.shape[1] > 1:
            energy = _energy(np.diff(pixels, axis=1)) + _energy(np.diff(pixels, axis=2))
        rough.append(np.log(energy / 255**2 + _LEAST_ENERGY))
        even = pixels.shape[1] // 2 * 2
        rows = pixels[:, 0:even:2] + pixels[:, 1:even:2]
        pixels = (rows[:, :, 0:even:2] + rows[:, :, 1:even:2]) / 4
    return np.concatenate([np.concatenate(numbers) / 255, *rough])


def _energy(planes: np.ndarray) -> np.ndarray:
    """Mean square (3,) of each of three planes (3, h, w)."""
    return np.array([np.vdot(plane, plane) for plane in planes]) / planes[0].size
