"""Transduction: the images of a batch help to label each other.

A classifier of few labels draws its border through the midst of images that lie close together. In
a batch, neighbours tell: the class probabilities of all images are spread over the graph of their
nearest neighbours (Zhou et al., "Learning with local and global consistency", 2004). Held-out
labelled images are nodes of this graph like any other, with the probabilities that models gave
them which had not learned from them; their labels take no part. So what is measured on them
afterwards holds for the batch too (joint adaptation as if unlabelled: arXiv 2506.17503).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterkit.methods.fusion import fit_logit_weights, log_softmax
from clusterkit.methods.label_propagation import unit_length
from clusterkit.methods.prediction_sets import unit_parts
from clusterkit.methods.unit_likelihood import unit_log_likelihood, unit_weights

# Neighbours of an image, and the parts of its probabilities that it may take from them.
NEIGHBOURS = 10
SHARES = (0.5, 0.7, 0.85)

# After these what is still on its way is below 0.85 ** 60, a ten-thousandth.
_ROUNDS = 60

# No probability is evidence beyond this.
_LEAST_PROB = 1e-4

# Weights before any held-out image is seen: the mean of both.
_START = np.array([0.5, 0.5])


@dataclass(frozen=True)
class Refinement:
    """Class probabilities from those of an image itself and those of its neighbours.

    ``P(c) ∝ p_c ** own · s_c ** spread``, a conditional logit as `fusion.Fusion` is.

    Attributes
    ----------
    share : float in (0, 1)
        Part of its probabilities that an image took from its neighbours in each round.
    own, spread : float > 0
    """

    share: float
    own: float
    spread: float

    def __call__(self, probs: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K), given an image's own and the spread ones (N, K)."""
        joined = np.tensordot([self.own, self.spread], _terms(probs, spread), axes=1)
        return np.exp(log_softmax(joined))


def spread_probs(points: np.ndarray, probs: np.ndarray, share: float) -> np.ndarray:
    """Spread class probabilities over a graph of nearest neighbours.

    Each image is joined with its `NEIGHBOURS` nearest, and with those that it is one of the
    nearest of. In each round it keeps ``1 − share`` of its own and takes `share` of their mean.

    Parameters
    ----------
    points : (N, P) float
        Compared by their direction.
    probs : (N, K) float, rows sum to 1
    share : float in (0, 1)

    Returns
    -------
    (N, K) float, rows sum to 1; `probs` themselves where there is one image only.
    """
    return _spread(_mean_of_neighbours(points), probs, share) if len(points) > 1 else probs.copy()


def refine(
    points: np.ndarray, probs: np.ndarray, labels: np.ndarray, units: np.ndarray
) -> tuple[Refinement | None, np.ndarray, float]:
    """Spread probabilities over labelled images and a batch, if held-out labels gain by it.

    Each share of `SHARES` is tried: the weights of the refinement are fitted on some of the
    labelled units and scored on the others. The likeliest is taken if the mean log-probability of
    the true class, each unit counting once, is higher by more than a standard error (Breiman et
    al. 1984) than without neighbours: than that of the probabilities as they are, and with weights
    that were fitted to them alone (such weights make them more or less sure, which is no news of
    the neighbours).

    Parameters
    ----------
    points : (n + M, P) float
        First of the n labelled images, then of the batch.
    probs : (n + M, K) float, rows sum to 1
        Under the same class proportions; of labelled images by models that had not seen them.
    labels, units : (n,) int
        See `calibration.HeldOut`.

    Returns
    -------
    refinement : Refinement or None
        None: held-out labels do not clearly gain, or are of one unit alone.
    refined : (n + M, K) float
        Of labelled images by weights that were fitted on other units; `probs` with None.
    gain : float
        Of the mean log-likelihood per unit, as measured; 0 where nothing could be.
    """
    n = len(labels)
    if len(np.unique(units)) < 2 or len(points) < 3:
        return None, probs, 0.0
    mean = _mean_of_neighbours(points)
    alone = _crossed(probs[:n], probs[:n], labels, units, 0.0)
    plain = [unit_log_likelihood(known, labels, units) for known in (probs[:n], alone)]
    before = max(plain, key=lambda values: float(values.mean()))
    best: tuple[np.ndarray, float, np.ndarray, np.ndarray] | None = None
    for share in SHARES:
        spread = _spread(mean, probs, share)
        crossed = _crossed(probs[:n], spread[:n], labels, units, share)
        gains = unit_log_likelihood(crossed, labels, units) - before
        # Of all images there is one array at a time, beside the best.
        if best is None or gains.mean() > best[0].mean():
            best = gains, share, spread, crossed
    assert best is not None
    gains, share, spread, crossed = best
    gain = float(gains.mean())
    if gain <= gains.std(ddof=1) / np.sqrt(len(gains)):
        return None, probs, gain
    found = _fit(probs[:n], spread[:n], labels, units, share)
    return found, np.concatenate([crossed, found(probs[n:], spread[n:])]), gain


def _mean_of_neighbours(points: np.ndarray) -> Any:
    """Return the sparse matrix (N, N) by which each image takes the mean of its neighbours."""
    # Slow to import.
    from scipy.sparse import csr_matrix, diags
    from sklearn.neighbors import NearestNeighbors

    points, n = unit_length(points), len(points)
    width = min(NEIGHBOURS, n - 1)
    finder = NearestNeighbors(n_neighbors=width, algorithm="brute").fit(points)
    # Without queries no image is its own neighbour, even beside copies of it.
    index = finder.kneighbors(return_distance=False)
    rows = np.repeat(np.arange(n), width)
    edges = csr_matrix((np.ones(n * width), (rows, index.ravel())), shape=(n, n))
    joined = edges.maximum(edges.T)
    return diags(1 / np.asarray(joined.sum(axis=1)).ravel()) @ joined


def _spread(mean: Any, probs: np.ndarray, share: float) -> np.ndarray:
    spread = probs
    for _ in range(_ROUNDS):
        spread = (1 - share) * probs + share * (mean @ spread)
    return spread


def _crossed(
    probs: np.ndarray, spread: np.ndarray, labels: np.ndarray, units: np.ndarray, share: float
) -> np.ndarray:
    """Return refined probabilities (n, K), by weights that were fitted on other units."""
    parts, refined = unit_parts(units), np.empty_like(probs, dtype=float)
    for part in np.unique(parts):
        test = parts == part
        fitted = _fit(probs[~test], spread[~test], labels[~test], units[~test], share)
        refined[test] = fitted(probs[test], spread[test])
    return refined


def _fit(
    probs: np.ndarray, spread: np.ndarray, labels: np.ndarray, units: np.ndarray, share: float
) -> Refinement:
    """Fit the weights by penalised maximum likelihood, each unit counting once."""
    terms, weight = _terms(probs, spread), unit_weights(units)
    own, taken = fit_logit_weights(terms, labels, weight, _START, _START)
    return Refinement(share, float(own), float(taken))


def _terms(probs: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.stack([probs, spread]).astype(float), _LEAST_PROB))
