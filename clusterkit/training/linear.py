"""The classifier on frozen features: the optimum of a linear head, without epochs."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from clusterkit.models.heads import create_linear_head
from clusterkit.models.scaling import HEAD_SHRINKAGE, shrunk_variance
from clusterkit.threads import threads_allowed

# Logit margin by which a class that no image shows stays below all others.
_UNSEEN = 10.0

# With fewer images each step takes microseconds: threads would wait for each other longer.
_FEW = 2000


def fit_linear_head(
    views: torch.Tensor,
    labels: np.ndarray,
    prior: np.ndarray,
    chains: list[list[int]],
    inverse_l2: float,
    extra: tuple[torch.Tensor, np.ndarray] | None = None,
    trust: np.ndarray | None = None,
) -> nn.Sequential:
    """Fit standardisation and scikit-learn's `LogisticRegression` as a head.

    With some dozens of labelled images the article's head of two layers follows their noise
    (malaria, 20 per class: accuracy 0.71 against 0.78).

    One regression is fitted on the features of all depths, one without the shallowest, and so
    on to the deepest alone; the head is their mean (which is linear too). Shallow texture tells
    blood cells apart best, and misleads where each patient has a stain of their own: no choice
    of one is right for both, and too few held-out patients could say which to take. Of joined
    encoders each has its own: in one regression their errors do not average out.

    Parameters
    ----------
    views : (V, N, D) float Tensor
        Pooled features of every view of the images.
    labels : (N,) int in [0, K)
    prior : (K,) float
        The share of the loss that each class gets: a fold that lacks half of a class must not
        learn that the class is rare. Classes without an image get the lowest logit.
    chains : list of list of int
        Channels of each depth of each encoder (`Encoder.chains`); D is twice their sum. Empty: the
        features are of one kind, and one regression is fitted.
    inverse_l2 : float > 0
        scikit-learn's `C`.
    extra : (features (M, D), labels (M,)) or None
        Images with labels that the model itself is sure of.
    trust : (N,) float in (0, 1] or None
        How much each image counts within its class; None: all the same.

    Returns
    -------
    head : (B, D) → (B, K) logits.
    """
    if extra is None or not len(extra[1]):
        return LinearHeadFit(views, labels, prior, chains, inverse_l2, None, trust)()
    fit = LinearHeadFit(views, labels, prior, chains, inverse_l2, extra[0], trust)
    return fit(np.arange(len(extra[1])), extra[1])


class LinearHeadFit:
    """Fits of a head on the same images, each with others of a pool; see `fit_linear_head`.

    The products of images with each other take most of the time. They are the same for all fits.

    Parameters
    ----------
    views, labels, prior, chains, inverse_l2, trust
        See `fit_linear_head`.
    pool : (M, D) float32 Tensor or None
        Images that may join.
    """

    def __init__(
        self,
        views: torch.Tensor,
        labels: np.ndarray,
        prior: np.ndarray,
        chains: list[list[int]],
        inverse_l2: float,
        pool: torch.Tensor | None,
        trust: np.ndarray | None,
    ) -> None:
        features = views.flatten(0, 1).numpy()
        mean, var = features.mean(0), features.var(0)
        self._targets = np.tile(labels, len(views))
        trusts = None if trust is None else np.tile(trust, len(views))
        self._weights = _class_weights(self._targets, prior, trusts)
        self._prior, self._inverse_l2, self._joined = prior, inverse_l2, pool is not None
        if pool is not None:
            features = np.concatenate([features, pool.numpy()])
        var = shrunk_variance(torch.from_numpy(var), chains, HEAD_SHRINKAGE).numpy()
        self._statistics = mean, var
        self._scaled = (features - mean) / np.sqrt(var + nn.BatchNorm1d(1).eps)
        width = features.shape[1]
        self._encoders = added_columns(chains) if chains else [[[slice(0, width)]]]
        # Of all images with each other in the columns that a depth adds; kept for the next fit.
        self._products: dict[int, np.ndarray] = {}

    def __call__(
        self, chosen: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> nn.Sequential:
        """Fit with rows `chosen` (m,) of the pool under `labels` (m,); None: with none of it."""
        rows, targets, weights = np.arange(len(self._targets)), self._targets, self._weights
        if chosen is not None and labels is not None and len(chosen):
            # Together they count as much as the labelled images do: a person's labels lead.
            scale = min(1.0, len(targets) / len(labels))
            weights = np.r_[weights, scale * _class_weights(labels, self._prior)]
            rows, targets = np.r_[rows, len(rows) + chosen], np.r_[targets, labels]
        weight, bias = self._mean_regression(rows, targets, weights)
        mean, var = self._statistics
        head = create_linear_head(len(mean), len(self._prior))
        values = {"0.running_mean": mean, "0.running_var": var, "1.weight": weight, "1.bias": bias}
        tensors = {name: torch.from_numpy(value) for name, value in values.items()}
        head.load_state_dict(head.state_dict() | tensors)
        return head.eval()

    def _mean_regression(
        self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean weights (K, D) and biases (K,) over the encoders, of a regression per depth.

        Parameters
        ----------
        rows : (n,) int
            Of the standardised features.
        targets : (n,) int
        weights : (n,) float
            Of the samples.
        """
        n_classes = len(self._prior)
        weight, bias = np.zeros((n_classes, self._scaled.shape[1])), np.zeros(n_classes)
        threads = 1 if len(rows) < _FEW else threads_allowed()
        with threadpool_limits(threads, "blas"):
            for added in self._encoders:
                of_one = self._mean_over_depths(rows, targets, weights, added)
                weight += of_one[0] / len(self._encoders)
                bias += of_one[1] / len(self._encoders)
        return weight, bias

    def _mean_over_depths(
        self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, added: list[list[slice]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean weights (K, D) and biases (K,) of one encoder; see `added_columns`."""
        n_classes, n = len(self._prior), len(rows)
        scaled = self._scaled if n == len(self._scaled) else self._scaled[rows]
        weight, bias = np.zeros((n_classes, scaled.shape[1])), np.zeros(n_classes)
        used: list[slice] = []
        waiting: list[list[slice]] = []
        products: np.ndarray | None = None
        for more in added:
            used, waiting = used + more, [*waiting, more]
            # Of more images than features there may be too many for all their products.
            if n < sum(part.stop - part.start for part in used):
                products = np.zeros((n, n)) if products is None else products
                for parts in waiting:
                    products += self._products_of(parts, rows)
                waiting = []
            rotated, of_images = _row_space(scaled, used, products)
            model = LogisticRegression(C=self._inverse_l2, max_iter=5000)
            model.fit(rotated, targets, sample_weight=weights)
            own, shift = _all_classes(model, n_classes)
            bias += shift / len(added)
            if of_images is None:
                weight[:, _indices(used)] += own / len(added)
                continue
            shares = (of_images(own) / len(added)).astype(np.float32)
            for part in used:
                weight[:, part] += shares @ scaled[:, part]
        return weight, bias

    def _products_of(self, parts: list[slice], rows: np.ndarray) -> np.ndarray:
        """Products (n, n) of images with each other in some columns."""
        key = parts[0].start
        found = self._products.get(key)
        if found is None:
            found = sum(self._scaled[:, part] @ self._scaled[:, part].T for part in parts)
            if not self._joined:
                return found
            self._products[key] = found
        return found if len(rows) == len(found) else found[np.ix_(rows, rows)]


def added_columns(chains: list[list[int]]) -> list[list[list[slice]]]:
    """Return columns of each encoder: its deepest depth, what the one above adds, and so on.

    >>> added_columns([[1, 2]])
    [[[slice(1, 3, None), slice(4, 6, None)], [slice(0, 1, None), slice(3, 4, None)]]]
    """
    total = sum(map(sum, chains))
    starts = np.cumsum([0, *map(sum, chains)]).tolist()
    found = []
    for depths, start in zip(chains, starts, strict=False):
        ends = (start + np.cumsum(depths)).tolist()
        found.append([
            [slice(end - size, end), slice(total + end - size, total + end)]
            for size, end in zip(reversed(depths), reversed(ends), strict=True)
        ])  # fmt: skip
    return found


def _indices(parts: list[slice]) -> np.ndarray:
    return np.concatenate([np.arange(part.start, part.stop) for part in parts])


def _row_space(
    features: np.ndarray, columns: list[slice], products: np.ndarray | None
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
    """Return features in N coordinates of the space that they span, where they are more than that.

    The optimum of a regression with an L2 penalty lies in it, so with fewer images than
    features the fit is the same and takes N / D times as long. The coordinates are the Cholesky
    factor of the products of images: all coordinates with these products differ by a rotation.

    Parameters
    ----------
    features : (N, D)
    columns : list of slice
        Which of them count.
    products : (N, N) or None
        Of all images with each other in these columns; None: these are no more than N.

    Returns
    -------
    (N, N), and a function from weights (K, N) to those of images (K, N), by which their features
    add up to the weights of features; or the features (N, r) of these columns, and None.
    """
    if products is None:
        return features[:, _indices(columns)], None
    # Copies of an image add no direction, and the products are of float32: this keeps rounding from
    # making them negative. Errors are measured by the largest eigenvalue, which the largest sum of
    # a row bounds; the penalty is far larger. Images that are all alike have products of 0.
    ridge = 16 * np.finfo(np.float32).eps * max(1.0, np.abs(products).sum(axis=1).max())
    factor = np.linalg.cholesky(products + ridge * np.eye(len(products)))
    return factor, lambda weights: solve_triangular(factor, weights.T, lower=True, trans="T").T


def _class_weights(
    targets: np.ndarray, prior: np.ndarray, trust: np.ndarray | None = None
) -> np.ndarray:
    trust = np.ones(len(targets)) if trust is None else trust
    counts = np.bincount(targets, trust, minlength=len(prior))
    share = np.where(counts > 0, prior, 0.0)
    share = share / share.sum()
    return len(targets) * share[targets] * trust / counts[targets]


def _all_classes(model: LogisticRegression, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (K, d) and biases (K,) with a row for every class."""
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn keeps one row for two classes: its logit is the difference of ours.
        weight, bias = np.r_[-weight, weight] / 2, np.r_[-bias, bias] / 2
    full_weight = np.zeros((n_classes, weight.shape[1]))
    full_bias = np.full(n_classes, bias.min() - _UNSEEN)
    full_weight[model.classes_], full_bias[model.classes_] = weight, bias
    return full_weight, full_bias
