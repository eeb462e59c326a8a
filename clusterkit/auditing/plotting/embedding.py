"""Map of labelled images and a batch: many dimensions of features in the two of a picture."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from clusterkit.auditing.plotting.figures import OTHER, new_figure, save_empty, save_figure, short
from clusterkit.auditing.plotting.vector import SOFT
from clusterkit.errors import ClusterkitError

# Okabe and Ito's, without the yellow that white ground swallows and the black that a dark one
# does; the shape says it once more.
_CLASSES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"),
    ("#E69F00", "v"), ("#56B4E9", "P"), ("#6B7076", "X"), ("#7A5195", "<"),
)  # fmt: skip
_REST = (OTHER, ".")
_EDGE = "#6B7076"

# Shapes of the batch's images; those with an edge are drawn over the others.
_STATUSES = {"assigned": "o", "reviewed": "D", "duplicate": "s", "review": "^", "novel": "X"}

# Dimensions that UMAP starts from: it compares points, and more than these are mostly noise.
_UMAP_FROM = 50


def embedding_map(
    labelled_features: np.ndarray,
    labels: np.ndarray,
    features: np.ndarray,
    statuses: np.ndarray,
    predicted: np.ndarray,
    path: Path,
    method: str = "auto",
) -> str:
    """Draw labelled images by class beside a batch by status and predicted label, on one map.

    Axes are principal components of the standardised features of all images, or UMAP's
    (McInnes et al., arXiv 1802.03426). The same input gives the same map.

    Parameters
    ----------
    labelled_features : (N, D) float
    labels : (N,) str
    features : (M, D) float
        Of the batch's images; M may be 0.
    statuses, predicted : (M,) str
    path : Path
        The SVG.
    method : {"auto", "pca", "umap"}
        ``auto``: UMAP where the package umap-learn is installed, else PCA.

    Returns
    -------
    str: the caption: what the map shows, with its numbers.

    Raises
    ------
    ClusterkitError
        ``umap`` is chosen and not installed.
    """
    points = np.concatenate([labelled_features, features]).astype(np.float64)
    if len(points) < 3 or points.shape[1] < 1:
        save_empty(path, "too few images for a map")
        return "There are too few images for a map."
    method = _method(method, len(points))
    places, explained = _project(points, method)
    n, labels, predicted = len(labelled_features), np.asarray(labels), np.asarray(predicted)
    styles = _class_styles(labels, predicted)
    figure, (left, right) = new_figure(10.5, 4.9, columns=2)
    _draw_labelled(left, places[:n], labels, places[n:], styles)
    _draw_batch(right, places[n:], np.asarray(statuses), predicted, places[:n], styles)
    names = _axis_names(method, explained)
    left.set(xlabel=names[0], ylabel=names[1])
    right.set(xlabel=names[0])
    _add_legend(figure, styles, labels, predicted, statuses)
    save_figure(figure, path)
    return _words(method, explained, points.shape[1], n, np.asarray(statuses))


def _method(wanted: str, n: int) -> str:
    if wanted not in ("auto", "pca", "umap"):
        raise ValueError(f"method = {wanted!r}; allowed: auto, pca, umap")
    installed = find_spec("umap") is not None
    if wanted == "umap" and not installed:
        raise ClusterkitError("the map by UMAP needs the package umap-learn: pip install "
                              "umap-learn, or take the method pca")  # fmt: skip
    # Of a handful of points UMAP cannot make a graph.
    return "umap" if wanted != "pca" and installed and n > 15 else "pca"


def _project(points: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, D) in two dimensions, and the share of variance of each PCA axis."""
    # A dimension that hardly varies must not be blown up to noise.
    scaled = (points - points.mean(axis=0)) / (points.std(axis=0) + 1e-3)
    dimensions = 2 if method == "pca" else _UMAP_FROM
    count = min(dimensions, *scaled.shape)
    fitted = PCA(count, svd_solver="randomized", iterated_power=7, random_state=0)
    with np.errstate(invalid="ignore"):
        places = fitted.fit_transform(scaled)
        # Points that are all the same have no variance to share.
        explained = np.nan_to_num(fitted.explained_variance_ratio_[:2])
    if method == "umap":
        import umap

        return umap.UMAP(random_state=0, n_jobs=1).fit_transform(places), explained[:0]
    if count < 2:
        places, explained = np.c_[places, np.zeros(len(places))], np.r_[explained, 0.0]
    return places, explained


def _class_styles(labels: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[str, str]]:
    """Give the most frequent classes a colour and a shape each."""
    counts = Counter(map(str, [*labels, *predicted]))
    counts.pop("", None)
    ranked = sorted(counts, key=lambda c: (-counts[c], c))[: len(_CLASSES)]
    return dict(zip(sorted(ranked), _CLASSES, strict=False))


def _size(n: int) -> tuple[float, float]:
    """Return area in square points and opacity of one of n marks: many must not be one blot."""
    return float(np.clip(6000 / max(n, 1), 9, 34)), float(np.clip(900 / max(n, 1), 0.35, 0.85))


def _draw_labelled(axes, own: np.ndarray, labels: np.ndarray, others: np.ndarray, styles) -> None:
    area, opacity = _size(len(own))
    axes.scatter(*others.T, s=6, color=OTHER, alpha=0.35, linewidths=0, rasterized=True)
    for name in [None, *styles]:
        chosen = ~np.isin(labels, list(styles)) if name is None else labels == name
        colour, shape = _REST if name is None else styles[name]
        axes.scatter(*own[chosen].T, s=area, color=colour, marker=shape, alpha=opacity,
                     linewidths=0, rasterized=True)  # fmt: skip
    axes.set_title(f"{len(own):,} labelled images", fontsize=10)


def _draw_batch(axes, own: np.ndarray, statuses, predicted, labelled: np.ndarray, styles) -> None:
    area, opacity = _size(len(own))
    axes.scatter(*labelled.T, s=6, color=OTHER, alpha=0.35, linewidths=0, rasterized=True)
    colours = np.array([styles.get(str(name), _REST)[0] for name in predicted], dtype=object)
    for status, shape in _STATUSES.items():
        chosen = statuses == status
        refused = status in ("review", "novel")
        axes.scatter(*own[chosen].T, s=area * (1.5 if refused else 1), marker=shape,
                     c=list(colours[chosen]), alpha=min(1, opacity * (1.4 if refused else 1)),
                     edgecolors=_EDGE if refused else "none", linewidths=0.5,
                     rasterized=True)  # fmt: skip
    axes.set_title(f"{len(own):,} images of this batch", fontsize=10)


def _add_legend(figure, styles, labels, predicted, statuses) -> None:
    def mark(colour: str, shape: str, text: str) -> Line2D:
        return Line2D([], [], linestyle="none", marker=shape, color=colour, label=text)

    marks = [mark("none", "", "class: colour (left: and shape)")]
    marks += [mark(colour, shape, short(name)) for name, (colour, shape) in styles.items()]
    if set(map(str, [*labels, *predicted])) - set(styles) - {""}:
        marks.append(mark(*_REST, "other classes"))
    marks.append(mark("none", "", "right: status by shape"))
    marks += [mark(SOFT, shape, status) for status, shape in _STATUSES.items()
              if status in set(statuses)]  # fmt: skip
    figure.legend(handles=marks, loc="outside right upper", frameon=False, fontsize=8)


def _axis_names(method: str, explained: np.ndarray) -> list[str]:
    if method == "umap":
        return ["UMAP 1", "UMAP 2"]
    return [f"principal component {i + 1} ({share:.0%} of the variance)"
            for i, share in enumerate(explained)]  # fmt: skip


def _words(method: str, explained: np.ndarray, d: int, n: int, statuses: np.ndarray) -> str:
    counts = ", ".join(f"{np.sum(statuses == s):,} {s}" for s in _STATUSES if (statuses == s).any())
    batch = f" and {len(statuses):,} of this batch ({counts})" if len(statuses) else ""
    shown = f"{n:,} labelled images{batch}"
    if method == "umap":
        return (
            f"Map of {shown} by UMAP, which keeps neighbours together and stretches all else: "
            f"distances and sizes of clouds mean little, and 2 of {d:,} dimensions are left."
        )
    return (
        f"Map of {shown}: the two principal components of their features. They show "
        f"{explained.sum():.0%} of the variance in {d:,} dimensions, so images that lie together "
        "here may be far apart, and labels were not chosen by this map."
    )
