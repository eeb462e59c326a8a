"""Signature of an image's texture, invariant to rotation, mirroring, size and brightness.

The central disc of the image, its own blur taken away and its local contrast evened out, is
sampled along rings. A turned copy has the same rows shifted, a mirrored one the same rows
backwards. One fast Fourier transform along the rings gives the best of all turns.
"""

from functools import cache

import numpy as np
from numpy import fft
from PIL import Image

from clusterkit.data.duplicates.padding import without_margin

RINGS, ANGLES = 16, 64
SIGNATURE = RINGS * ANGLES

# Two images are near duplicates from this score on. Chosen on malaria and bccd, where it lies
# just above what two different cells reach, and confirmed on busi, which had no part in it:
# `python -m benchmarks.duplicates` measures all three.
SAME = 0.82

# Pairs that were compared where SAME was chosen; and the rise of the highest chance score for each
# factor of ten more pairs, at most, in drawn cells.
_COMPARED, _DECADE = 3e6, 0.025

# Pixels across the disc, and the two blurs whose difference is the band that is kept: finer
# detail does not survive a JPEG of quality 30 or half the size, and coarser is mere outline.
_ACROSS, _FINE, _COARSE, _LOCAL = 64, 1.6, 5.0, 6.0
# Outside the disc a turned copy is filled with a colour of the program's choice.
_DISC, _OUTER = 0.98, 0.95
# Regularisation of the local contrast, in parts of the whole's: flat parts are not blown up.
_FLOOR = 0.1
# Ring means and low angular frequencies are the outline, in which all round cells agree.
_LOW = (0.0, 0.0, 0.3, 0.6, 0.8)
# A drawn circle leaves 1% (the grid of pixels) once the outline is gone, the smoothest of real
# cells 16%: below this, what is left would be noise blown up, and every circle like every other.
_EMPTY = 0.03
# In grey levels: less than this is the rounding of a flat image.
_FLAT = 0.25
_CLIP = 3.0
_PAIRS = 2048


def signature(image: Image.Image) -> np.ndarray:
    """Signature (SIGNATURE,) int8 of an image.

    Parameters
    ----------
    image : PIL.Image.Image
        Any size, at its own aspect ratio; RGB is reduced to grey. An even margin around it is
        taken off. What lies outside the central disc, whose diameter is the shorter side, has
        no part in it.

    Returns
    -------
    (SIGNATURE,) int8
        `RINGS` rows of `ANGLES` values. All zeros, which match nothing, where there is no
        structure: a constant image, or circles around the centre and no more.
    """
    grey = _disc(without_margin(image))
    inside = _inside()
    band = _blur(grey, _FINE) - _blur(grey, _COARSE)
    contrast = np.sqrt((band**2 * inside).sum() / inside.sum())
    if contrast < _FLAT:
        return np.zeros(SIGNATURE, dtype=np.int8)
    band /= np.sqrt(_blur(band**2, _LOCAL)) + _FLOOR * contrast
    places, shares, weights = _places()
    rings = (band.ravel()[places] * shares).sum(axis=0)  # (RINGS, ANGLES)
    waves = fft.rfft(rings, axis=1)
    waves[:, : len(_LOW)] *= _LOW
    whole, rings = _spread(rings), fft.irfft(waves, n=ANGLES, axis=1)
    spread = _spread(rings)
    if spread < _EMPTY * whole:
        return np.zeros(SIGNATURE, dtype=np.int8)
    # A few hard edges must not speak for the whole image.
    rings = np.clip(rings / spread, -_CLIP, _CLIP) * weights
    return np.round(rings * (127 / _CLIP)).astype(np.int8).ravel()


def threshold(comparisons: float) -> float:
    """Score from which on two images are near duplicates, among so many comparisons.

    `SAME` up to 3 million pairs, 0.025 more for each factor of ten: the more pairs, the higher
    the highest chance score, as in any multiple testing.

    >>> threshold(1000)
    0.82
    >>> round(threshold(3e8), 3)
    0.87
    """
    return SAME + _DECADE * max(0.0, float(np.log10(max(1.0, comparisons / _COMPARED))))


def spectra(signatures: np.ndarray) -> np.ndarray:
    """Spectra of signatures (N, SIGNATURE): unit vectors, transformed along each ring.

    Returns
    -------
    (N, RINGS, ANGLES // 2 + 1) complex64. Zero signatures stay zero.
    """
    rows = signatures.astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(length > 0, length, 1)
    # Of float32, numpy before 2.0 makes complex128.
    return fft.rfft(rows.reshape(-1, RINGS, ANGLES), axis=2).astype(np.complex64, copy=False)


def pair_scores(
    signatures: np.ndarray, others: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Scores of chosen pairs, row `first[p]` of `signatures` with row `second[p]` of `others`.

    Normalised correlation, the highest over `ANGLES` turns and both mirror senses, by the
    correlation theorem: ``irfft(sum over rings of A conj(B))``.

    Returns
    -------
    (P,) float32 in [0, 1]
        1: one image is the other, turned or mirrored. 0 with a zero signature.
    """
    scores = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        a, b = spectra(signatures[first[part]]), spectra(others[second[part]])
        turned = np.einsum("prm,prm->pm", a, b.conj())
        mirrored = np.einsum("prm,prm->pm", a, b)
        scores[part] = _best(turned, mirrored)
    return scores


def all_scores(signatures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Scores (B, N) float32 in [0, 1] of all rows of `signatures` (B) and of `others` (N)."""
    a = spectra(signatures).transpose(2, 0, 1)  # (M, B, RINGS)
    b = spectra(others).transpose(2, 1, 0)
    scores = np.empty((a.shape[1], b.shape[2]), dtype=np.float32)
    step = max(1, 200_000 // max(1, len(others)))
    for start in range(0, len(scores), step):
        rows = np.ascontiguousarray(a[:, start : start + step])
        turned, mirrored = np.matmul(rows, b.conj()), np.matmul(rows, b)
        scores[start : start + step] = _best(
            np.moveaxis(turned, 0, -1), np.moveaxis(mirrored, 0, -1)
        )
    return scores


def invariants(signatures: np.ndarray) -> np.ndarray:
    """Descriptors of signatures (N, SIGNATURE) that no turn and no mirror changes.

    The magnitudes of the transform along each ring: a turn changes only phases.

    Returns
    -------
    (N, RINGS * ANGLES // 2) float32
        Rows of length 1, or 0 for zero signatures.
    """
    # The root keeps the few strongest waves from drowning the rest.
    sizes = np.sqrt(np.abs(spectra(signatures)[:, :, 1:])).reshape(len(signatures), -1)
    length = np.linalg.norm(sizes, axis=1, keepdims=True)
    return sizes / np.where(length > 0, length, 1)


def _best(turned: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Highest correlations over all turns, by cross-spectra (..., ANGLES // 2 + 1)."""
    best = fft.irfft(turned, n=ANGLES, axis=-1).max(axis=-1)
    best = np.maximum(best, fft.irfft(mirrored, n=ANGLES, axis=-1).max(axis=-1))
    return np.clip(best, 0, 1)


def _disc(image: Image.Image) -> np.ndarray:
    """Central square in grey, (_ACROSS, _ACROSS) float64."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    grey = image.convert("L")
    coarser = side // (4 * _ACROSS)
    if coarser > 1:
        # Whole numbers of pixels first: floats of a huge image would fill the memory.
        grey = grey.reduce(coarser)
        left, top, right, bottom = (edge / coarser for edge in box)
        box = (left, top, right, bottom)
    filtering = Image.Resampling.BILINEAR if side > _ACROSS else Image.Resampling.BICUBIC
    box = (box[0], box[1], min(box[2], grey.width), min(box[3], grey.height))
    small = grey.convert("F").resize((_ACROSS, _ACROSS), filtering, box=box)
    return np.asarray(small, dtype=np.float64)


@cache
def _inside() -> np.ndarray:
    """Disc (_ACROSS, _ACROSS): 1 inside, 0 outside."""
    centre = (_ACROSS - 1) / 2
    y, x = np.mgrid[:_ACROSS, :_ACROSS] - centre
    return ((y**2 + x**2) <= (_DISC * _ACROSS / 2) ** 2).astype(float)


@cache
def _gaussian(sigma: float) -> np.ndarray:
    """Matrix (_ACROSS, _ACROSS) that gives a column's Gaussian mean; zeros beyond the edges."""
    away = np.subtract.outer(np.arange(_ACROSS), np.arange(_ACROSS))
    reach = round(4 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    near = np.exp(-0.5 * (away / sigma) ** 2) / taps.sum()
    return np.where(np.abs(away) <= reach, near, 0.0)


@cache
def _cover(sigma: float) -> np.ndarray:
    """Share of each pixel's Gaussian that lies inside the disc."""
    return np.maximum(_gaussian(sigma) @ _inside() @ _gaussian(sigma), 1e-6)


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the pixels inside the disc alone."""
    return _gaussian(sigma) @ (values * _inside()) @ _gaussian(sigma) / _cover(sigma)


def _spread(rings: np.ndarray) -> float:
    """Weighted root mean square of (RINGS, ANGLES)."""
    weights = _places()[2]
    return float(np.sqrt((weights**2 * rings**2).sum() / (weights**2).sum() / ANGLES))


@cache
def _places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels and shares (4, RINGS, ANGLES) that sample the rings, and weights (RINGS, 1) ≤ 1.

    Bilinear interpolation takes four pixels per place, each by its share. Pixels are counted
    through the flat (_ACROSS, _ACROSS) picture.
    """
    radius = (np.arange(RINGS) + 0.5) / RINGS * _OUTER * _ACROSS / 2
    angle = np.arange(ANGLES) * 2 * np.pi / ANGLES
    centre = (_ACROSS - 1) / 2
    y, x = centre + radius[:, None] * np.sin(angle), centre + radius[:, None] * np.cos(angle)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = y - top, x - left
    pixels = [(top + i) * _ACROSS + left + j for i in (0, 1) for j in (0, 1)]
    shares = [
        (below if i else 1 - below) * (right if j else 1 - right) for i in (0, 1) for j in (0, 1)
    ]
    # Between equal weight for every ring and for every bit of area.
    return np.stack(pixels), np.stack(shares), ((radius / radius[-1]) ** 0.25)[:, None]
