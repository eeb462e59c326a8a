"""Active learning: the order in which a person is asked for labels of refused images."""

import numpy as np

from clusterkit.methods.label_propagation import unit_length

# Nobody labels more before the next fit, which orders anew.
_MOST = 1000
_NEIGHBOURS = 10
# Images that are chosen from: half of them the most uncertain, the others drawn evenly.
MOST_COMPARED = 100_000
# Density is looked up among so many images; more would only take longer.
_SAMPLE = 5000
# Cosine from which one label serves for two images.
_SAME = 0.99
# Sparse places keep a little weight: an image that is alone can still be the first.
_LEAST_DENSITY = 0.01
_CHUNK = 256


def order_questions(
    probs: np.ndarray,
    reduced: np.ndarray,
    groups: np.ndarray,
    unknown: np.ndarray,
    labelled: np.ndarray,
    most: int = _MOST,
) -> np.ndarray:
    """Query order of images by information density, the most useful label first.

    Information density is uncertainty times density (Settles and Craven 2008,
    doi:10.3115/1613715.1613855). The uncertainty is one minus the margin between the two
    likeliest classes (Scheffer et al. 2001, doi:10.1007/3-540-44816-0_31). The density is the
    mean cosine to the nearest neighbours: a label of many like images tells more than one of an
    oddity. Images are taken greedily. Each choice devalues the images near it, by one minus
    their cosine, and those of its group. Labelled images devalue those near them likewise. Of
    images that are nearly the same, one is queried. `benchmarks/questions.py` compares this rule
    with others.

    Parameters
    ----------
    probs : (N, K) float
        Class probabilities, rows sum to 1.
    reduced : (N, P) float
        Reduced features.
    groups : (N,) str
        "" where there is none.
    unknown : (N,) bool
        Like nothing labelled: their `probs` mean nothing, so their uncertainty is 1.
    labelled : (E, P) float
        Reduced features of the labelled images.
    most : int
        Images to order at most.

    Returns
    -------
    (N,) int
        Rank from 1, the first to be labelled; 0: not queried.
    """
    worth = np.where(unknown, 1.0, uncertainty(probs))
    return order_points(worth, unit_length(reduced), groups, unit_length(labelled), most)


def order_points(
    worth: np.ndarray,
    points: np.ndarray,
    groups: np.ndarray,
    labelled: np.ndarray,
    most: int = _MOST,
) -> np.ndarray:
    """Query order as of `order_questions`, from uncertainties and unit vectors.

    Parameters
    ----------
    worth : (N,) float in [0, 1]
        `uncertainty`, 1 where unknown.
    points : (N, P) float32, labelled : (E, P) float32
        Reduced features, scaled to `unit_length`.
    groups : (N,) str
        "" where there is none.
    most : int
        Images to order at most.

    Returns
    -------
    (N,) int
        Rank from 1; 0: not queried.
    """
    order = np.zeros(len(points), dtype=int)
    if not len(points):
        return order
    worth = worth * _density(points)
    named = _numbered(groups)
    queried = np.zeros(max(1, named.max(initial=-1) + 1))
    near = _nearest(points, labelled)
    open_ = np.ones(len(points), dtype=bool)
    for number in range(1, min(most, len(points)) + 1):
        share = np.where(named < 0, 1.0, 1 / (1 + queried[named]))
        value = np.where(open_, worth * (1 - near) * share, -1.0)
        best = int(value.argmax())
        if not open_[best]:
            break
        order[best] = number
        cosine = points @ points[best]
        near = np.maximum(near, np.clip(cosine, 0.0, 1.0))
        open_ &= cosine < _SAME
        # Where all features are 0 an image is not even like itself.
        open_[best] = False
        if named[best] >= 0:
            queried[named[best]] += 1
    return order


def choose_compared(worth: np.ndarray, most: int = MOST_COMPARED) -> np.ndarray:
    """Choose which images (N,) bool questions are chosen from: of a larger batch, `most`.

    Each choice is compared with all images, and hundreds of thousands of them hold no better
    thousand questions. Half are those of the greatest worth, among them what is like nothing
    labelled. The others are drawn evenly from the rest: they stand for where the batch is dense.

    Parameters
    ----------
    worth : (N,) float
        As of `order_points`.

    >>> choose_compared(np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.4]), 4).tolist()
    [True, True, False, True, False, True]
    """
    n = len(worth)
    if n <= most:
        return np.ones(n, dtype=bool)
    compared = np.zeros(n, dtype=bool)
    compared[np.argsort(-worth, kind="stable")[: most // 2]] = True
    rest = np.flatnonzero(~compared)
    compared[rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]] = True
    return compared


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Group numbers (N,) from 0, of groups (N,) of text; -1: none."""
    numbers, given = np.full(len(groups), -1), groups != ""
    numbers[given] = np.unique(groups[given].astype(str), return_inverse=True)[1]
    return numbers


def uncertainty(probs: np.ndarray) -> np.ndarray:
    """Margin uncertainty (N,) in [0, 1]: one minus the margin between the two likeliest classes.

    Scheffer et al. 2001, doi:10.1007/3-540-44816-0_31. Zeros where there is one class.

    Parameters
    ----------
    probs : (N, K) float
        Class probabilities, rows sum to 1.
    """
    top = np.sort(probs, axis=1)[:, -2:]
    return 1 - (top[:, -1] - top[:, 0]) if probs.shape[1] > 1 else np.zeros(len(probs))


def _density(points: np.ndarray) -> np.ndarray:
    """Mean cosine (N,) of each point to its nearest others, at least `_LEAST_DENSITY`."""
    n = len(points)
    rows = np.linspace(0, n - 1, min(n, _SAMPLE)).astype(int)
    count = min(_NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return np.ones(n)
    mean = np.empty(n)
    for start in range(0, n, _CHUNK):
        part = slice(start, min(start + _CHUNK, n))
        cosine = points[part] @ points[rows].T
        own = slice(*np.searchsorted(rows, [part.start, part.stop]))
        cosine[rows[own] - start, np.arange(own.start, own.stop)] = -np.inf
        cosine.partition(-count, axis=1)
        mean[part] = cosine[:, -count:].mean(axis=1)
    return np.maximum(mean, _LEAST_DENSITY)


def _nearest(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Cosine (N,) of each point to the nearest known one, in [0, 1]."""
    near = np.zeros(len(points))
    for start in range(0, len(points), _CHUNK):
        part = slice(start, start + _CHUNK)
        near[part] = (points[part] @ known.T).max(axis=1, initial=0.0)
    return np.minimum(near, 1.0)
