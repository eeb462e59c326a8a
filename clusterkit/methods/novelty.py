"""Novelty detection by class-wise Mahalanobis distances, and conformal p-values of them.

Deep features map a class that they have never seen onto one they have: on the demo's unknown
class, distances to the nearest exemplars are no better than chance (AUROC 0.44), on bccd's
platelets worse (0.14). Two scores detect it. One is of statistics of the pixels, which no
training can bend. The other is a distance along the few axes in which the labelled images vary,
in units of the spread of each class. Each is blind on some data sets where the other is not, so
either may raise the alarm. Held-out images tell how often a false alarm is raised.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

# Principal axes of the features: some dozens of labelled images say little about more.
_AXES = 32

# Part of the held-out images whose groups tell how high scores cluster, and fewest images: what
# matters is the far tail, but one or two images tell nothing about it.
_TAIL, _LEAST_TAIL = 0.05, 5

_LEAST_DISTANCE = 1e-6

# 0.1 · (9 + 1) is not quite 1.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ClassDistance:
    """Mahalanobis distance to the nearest class, by the spread of that class.

    A class of n images in d dimensions has the covariance ``(1 − a)·W + a·W_c`` with
    ``a = n / (n + d)``: its own only as far as its images can tell it from that of all classes
    (regularised discriminant analysis, Friedman 1989, doi:10.1080/01621459.1989.10478752). W and
    W_c are the estimates of Ledoit and Wolf (2004, doi:10.1016/S0047-259X(03)00096-4) about the
    class means: they can be inverted however few images there are.

    Attributes
    ----------
    means : (C, d) float
    precisions : (C, d, d) float
        Inverse covariances.
    """

    means: np.ndarray
    precisions: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, labels: np.ndarray) -> "ClassDistance":
        """Fit means and covariances to points (E, d) with labels (E,), a class per number."""
        _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
        n, d = points.shape
        means, spread = within_classes(points, index)
        freedom = n / max(1, n - len(counts))
        pooled = _covariance(spread) * freedom
        precisions = []
        for c, count in enumerate(counts):
            own = count / (count + d) if count > 1 else 0.0
            of_class = _covariance(spread[index == c]) * freedom if own else pooled
            precisions.append(np.linalg.inv((1 - own) * pooled + own * of_class))
        return cls(means, np.stack(precisions))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Squared distances (N,) of points (N, d) to the nearest class; they rise with novelty."""
        return self.nearest(points)[0]

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (N,) of points (N, d) to the nearest class, and that class (N,)."""
        best = np.full(len(points), np.inf)
        number = np.zeros(len(points), dtype=np.int32)
        for c, (mean, precision) in enumerate(zip(self.means, self.precisions, strict=True)):
            away = points - mean
            squared = ((away @ precision) * away).sum(axis=1)
            number[squared < best] = c
            best = np.minimum(best, squared)
        return best, number


def within_classes(points: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class means (C, d), and the differences (N, d) of points from the mean of their class.

    Where N - C is below 2, differences are from the mean of all: no other spread is known.

    Parameters
    ----------
    points : (N, d) float
    index : (N,) int in [0, C), each of which occurs
    """
    count = index.max() + 1
    means = np.stack([points[index == c].mean(axis=0) for c in range(count)])
    if len(points) - count < 2:
        return means, points - points.mean(axis=0)
    return means, points - means[index]


@dataclass(frozen=True)
class AppearanceModel:
    """`ClassDistance` in the labelled images' appearance.

    Attributes
    ----------
    mean, scale : (27,) float
        Of the labelled images; the appearance is standardised by them.
    distance : ClassDistance
        Of the standardised appearance.
    """

    mean: np.ndarray
    scale: np.ndarray
    distance: ClassDistance

    @classmethod
    def of(cls, labelled: np.ndarray, labels: np.ndarray | None = None) -> "AppearanceModel":
        """Fit to the appearance (E, 27) of labelled images; without labels, as one class."""
        mean = labelled.mean(axis=0)
        # Grey images have channels that are equal, and some sets a constant minimum.
        scale = labelled.std(axis=0) + 1e-3
        labels = np.zeros(len(labelled), dtype=int) if labels is None else labels
        return cls(mean, scale, ClassDistance.of(_standardise(labelled, mean, scale), labels))

    def score(self, described: np.ndarray) -> np.ndarray:
        """Squared distances (N,) of appearances (N, 27); they rise with novelty."""
        return self.nearest(described)[0]

    def nearest(self, described: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ClassDistance.nearest`, of appearances (N, 27)."""
        return self.distance.nearest(_standardise(described, self.mean, self.scale))


@dataclass(frozen=True)
class NoveltyModel:
    """Novelty scores of two kinds: in features and, where pixels are known, in appearance.

    Attributes
    ----------
    mean, scale : (D,) float
        Of the features.
    axes : (D, A) float
        Principal axes of the scaled features.
    distance : ClassDistance
        Along those axes.
    appearance : AppearanceModel or None
        None: the appearance of the labelled images is not known.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    distance: ClassDistance
    appearance: AppearanceModel | None

    @classmethod
    def of(
        cls, features: torch.Tensor, appearance: np.ndarray, labels: np.ndarray
    ) -> "NoveltyModel":
        """Fit to labelled images: features (E, D), appearance (E, 27 or 0), labels (E,) int."""
        from sklearn.utils.extmath import randomized_svd

        values = features.numpy().astype(np.float64)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        # A channel that hardly varies on labelled images must not dominate on the first other one.
        scale = np.maximum(scale, 0.05 * np.median(scale) + 1e-6)
        scaled = (values - mean) / scale
        count = min(_AXES, *values.shape)
        axes = randomized_svd(scaled, count, random_state=0)[2].T
        distance = ClassDistance.of(scaled @ axes, labels)
        known = AppearanceModel.of(appearance, labels) if appearance.shape[1] else None
        return cls(mean, scale, axes, distance, known)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a run keeps, by name; the names are those of its file."""
        arrays = {
            "mean": self.mean, "scale": self.scale, "axes": self.axes,
            "class_means": self.distance.means, "precisions": self.distance.precisions,
        }  # fmt: skip
        if (looks := self.appearance) is not None:
            arrays |= {"looks.mean": looks.mean, "looks.scale": looks.scale,
                       "looks.class_means": looks.distance.means,
                       "looks.precisions": looks.distance.precisions}  # fmt: skip
        return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "NoveltyModel":
        """Model of the tensors that `to_tensors` returned."""
        of = {name: tensor.numpy() for name, tensor in tensors.items()}
        distance, looks = ClassDistance(of["class_means"], of["precisions"]), None
        if "looks.mean" in of:
            own = ClassDistance(of["looks.class_means"], of["looks.precisions"])
            looks = AppearanceModel(of["looks.mean"], of["looks.scale"], own)
        return cls(of["mean"], of["scale"], of["axes"], distance, looks)

    def score(self, features: torch.Tensor, appearance: np.ndarray) -> np.ndarray:
        """Log squared distances (N, S), in features and in appearance; they rise with novelty.

        S is 1 without an appearance of labelled images; of one image without (NaN) it is -inf.
        """
        return self.compare(features, appearance)[0]

    def compare(
        self, features: torch.Tensor, appearance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N, S), see `score`, and the classes (N, S) that are nearest by either."""
        points = ((features.numpy() - self.mean) / self.scale) @ self.axes
        found = [self.distance.nearest(points)]
        if self.appearance is not None:
            found.append(self.appearance.nearest(appearance))
        squared, classes = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
        scores = np.log(np.maximum(squared, _LEAST_DISTANCE)).astype(np.float32)
        if self.appearance is not None:
            unseen = np.isnan(appearance).any(axis=1)
            scores[unseen, 1], classes[unseen, 1] = -np.inf, classes[unseen, 0]
        return scores, classes


def _standardise(described: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (described.astype(np.float64) - mean) / scale


def combine(scores: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Combined score of new and of held-out images: a soft maximum of standardised scores.

    Each score is standardised by its mean and deviation over held-out images; the soft maximum
    is ``log Σ exp`` over the scores. A held-out image is standardised by the mean and deviation
    of the others, so that it is treated like a new image.

    Parameters
    ----------
    scores : (N, S) float
    held_out : (M, S) float
        M ≥ 1.

    Returns
    -------
    (N,) and (M,) float
        They rise with novelty.
    """
    held_out = held_out.astype(np.float64)
    m, mean, var = len(held_out), held_out.mean(axis=0), held_out.var(axis=0)
    new = (scores - mean) / np.sqrt(var + 1e-6)
    away = held_out - mean
    others = max(1, m - 1)
    # Mean and variance without the image itself, in closed form.
    var_others = np.maximum(0, (m * var - m / others * away**2) / others)
    own = away * m / others / np.sqrt(var_others + 1e-6)
    return np.logaddexp.reduce(new, axis=1), np.logaddexp.reduce(own, axis=1)


def tail_cluster_size(scores: np.ndarray, units: np.ndarray) -> float:
    """Mean number of images per group among those with the highest scores, at least 1.

    One over the extremal index (Leadbetter 1983, doi:10.1007/BF00532484) of the highest
    twentieth: extremes that come in clusters of b leave the highest of M as high as the highest
    of M / b that are drawn independently. The correlation of whole groups would be too cautious:
    patients differ in their means more than in their outliers.

    Parameters
    ----------
    scores : (M,) float
    units : (M,) int
        Images of one group share a number.

    Returns
    -------
    float ≥ 1
        1 where each of the highest scores is of a group of its own.

    >>> tail_cluster_size(np.arange(30.0), np.repeat(np.arange(10), 3))
    2.5
    """
    count = min(len(scores), max(_LEAST_TAIL, math.ceil(_TAIL * len(scores))))
    top = np.argsort(-scores, kind="stable")[:count]
    return count / len(np.unique(units[top]))


def novelty_p_values(
    scores: np.ndarray, held_out: np.ndarray, units: np.ndarray | None = None
) -> np.ndarray:
    """Conformal p-values (N,) in (0, 1]: the share of held-out images with as high a score.

    ``(b + #{held-out ≥ score}) / (M + b)`` of the combined score (`combine`). Without groups b
    is 1 and this is the conformal p-value of Bates et al. (arXiv 2104.08279). High scores of one
    group come together, so that the highest of a new group exceeds M held-out images as easily
    as M / b independent ones: b is their `tail_cluster_size`. That is an estimate, not a proof;
    benchmarks/novelty.py measures the false discoveries.

    Parameters
    ----------
    scores : (N, S) float
        -inf: the image has no such score; it is then compared by its others alone.
    held_out : (M, S) float
        The same scores of labelled images that the scoring models had not seen; M ≥ 1.
    units : (M,) int or None
        Groups of the held-out images; None: each stands for itself.

    >>> novelty_p_values(np.array([[0.0], [5.0]]), np.array([[1.0], [2.0], [3.0]]))
    array([0.75, 0.25])
    """
    if not (there := np.isfinite(scores)).all():
        found = np.ones(len(scores))
        for kind in np.unique(there[there.any(axis=1)], axis=0):
            rows = (there == kind).all(axis=1)
            found[rows] = novelty_p_values(scores[rows][:, kind], held_out[:, kind], units)
        return found
    new, known = combine(scores, held_out)
    together = 1.0 if units is None else tail_cluster_size(known, units)
    below = np.searchsorted(np.sort(known), new, side="left")
    return (together + len(known) - below) / (len(known) + together)


def untestable_classes(
    held_out: np.ndarray, labels: np.ndarray, units: np.ndarray, n_classes: int, alpha: float
) -> np.ndarray:
    """Classes (K,) bool with too few held-out images to find an image that is unlike them.

    A class's own n held-out images give no p-value below ``b / (n + b)``, b as in
    `novelty_p_values`, and no procedure with a false discovery rate of `alpha` rejects a p-value
    above `alpha`. Among all held-out images those of such a class hardly count: where a batch
    holds many of its images, their p-values tell that the class is rare among the labels, not
    that they are novel.

    Parameters
    ----------
    held_out : (M, S) float
        Scores of held-out images.
    labels, units : (M,) int
    n_classes : int
    alpha : float in (0, 1)

    >>> labels = np.repeat([0, 1], [9, 8])
    >>> untestable_classes(np.arange(17.0)[:, None], labels, np.arange(17), 3, 0.1)
    array([False,  True,  True])
    """
    _, known = combine(held_out, held_out)
    found = np.ones(n_classes, dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        together = tail_cluster_size(known[own], units[own])
        found[label] = together > alpha * (own.sum() + together) * (1 + _ROUNDING)
    return found


def _covariance(centred: np.ndarray) -> np.ndarray:
    # Only fit pays for importing scikit-learn, not the first batch of assign.
    from sklearn.covariance import LedoitWolf

    found = LedoitWolf(assume_centered=True).fit(centred).covariance_
    # All images alike: no direction varies, and any step away would be infinitely far.
    return found + 1e-6 * np.eye(len(found))
