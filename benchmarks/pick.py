"""What the images that `clusterkit inspect --ask` names are worth, against as many at random.

For each data set and draw: half of the groups are the pool, and the other half, the same for all
ways, measure. N = k times the number of classes images of the pool are picked without any label.
Then their labels are revealed, and scikit-learn's `LogisticRegression(C=0.01)` learns from their
standardised features of all depths. A ratio below 1 says that its error is smaller than with
random images.

    CLUSTERKIT_DATA=… python -m benchmarks.pick --backbone tf_efficientnet_lite0 --out pick.csv
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from benchmarks.peers import predict
from benchmarks.protocol import SETS, Features, data_folder, weights_file
from benchmarks.questions import halves
from clusterkit import read_manifest
from clusterkit.methods.active_learning import order_points
from clusterkit.methods.first_labels import choose_first, whitened_directions
from clusterkit.models.scaling import shrunk_variance

# Random picks are draws themselves: the mean of so many.
_REPEATS = 10
# Neighbours of TypiClust's typicality, and the part of all pairs that ProbCover takes for near.
_TYPICAL, _NEAR = 20, 0.05

# From points (M, P), groups (M,), how many, and a seed to rows of the pool.
Way = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def as_clusterkit(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Medoids of k-means clusters, of new patients where there are."""
    none = np.full(len(points), -1)
    return choose_first(points, groups, none, np.zeros(len(points), dtype=bool), count, seed)


def without_groups(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    return as_clusterkit(points, np.full(len(points), ""), count, seed)


def at_random(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(points))[:count]


def typiclust(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The image of the densest neighbourhood of each cluster (arXiv 2202.02794)."""
    cluster = KMeans(count, n_init=3, random_state=seed).fit_predict(points)
    chosen = []
    for own in range(count):
        rows = np.flatnonzero(cluster == own)
        if len(rows) > 1:
            near = NearestNeighbors(n_neighbors=min(_TYPICAL, len(rows) - 1)).fit(points[rows])
            rows = rows[near.kneighbors()[0].mean(axis=1).argsort(kind="stable")]
        chosen.append(rows[0])
    return np.array(chosen)


def probcover(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Greedy cover by balls of one radius (arXiv 2205.11320)."""
    likeness = points @ points.T
    near = likeness >= np.quantile(likeness, 1 - _NEAR)
    open_, chosen = np.ones(len(points), dtype=bool), []
    for _ in range(count):
        gain = near[open_].sum(axis=0)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        open_ &= ~near[chosen[-1]]
    return np.array(chosen)


def by_density(points: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The order of `clusterkit assign` where all images are as uncertain."""
    order = order_points(np.ones(len(points)), points, groups, points[:0], count)
    return np.argsort(np.where(order > 0, order, len(order) + 1), kind="stable")[:count]


WAYS: dict[str, Way] = {
    "clusterkit": as_clusterkit,
    "without groups": without_groups,
    "TypiClust": typiclust,
    "ProbCover": probcover,
    "density": by_density,
}


def errors(images: Features, ways: list[str], ks: list[int], draw: int) -> list[dict]:
    """Return one row a way and k: the error (the mean of several for random images)."""
    manifest = images.manifest.reset_index(drop=True)
    pool, test = map(np.array, halves(manifest, draw))
    features, labels = images.views[0].numpy(), images.labels
    chains = images.backbone.encoder.chains
    scale = shrunk_variance(images.views[0][pool].var(dim=0), chains, 0.5).sqrt().numpy() + 1e-3
    points = whitened_directions(features[pool], scale, draw)
    groups = manifest["group"].fillna("").to_numpy(dtype=object)[pool]

    def error(way: Way, count: int, seed: int) -> float:
        rows = pool[way(points, groups, count, seed)]
        known, own = np.unique(labels[rows], return_inverse=True)
        if len(known) < 2:
            return float((labels[test] != known[0]).mean())
        found, _ = predict("logreg", features, rows, test, own)
        return float((known[found] != labels[test]).mean())

    out = []
    for k in ks:
        count = k * len(images.classes)
        plain = np.mean([error(at_random, count, 100 * draw + i) for i in range(_REPEATS)])
        out.append({"way": "random", "k": k, "draw": draw, "error": plain})
        out += [{"way": way, "k": k, "draw": draw, "error": error(WAYS[way], count, draw)}
                for way in ways]  # fmt: skip
    return out


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Mean error over random images' mean error, by way and k, of each set and on average."""
    mean = table.groupby(["set", "k", "way"])["error"].mean().unstack("way")
    ratio = mean.div(mean["random"], axis=0).stack().rename("ratio").reset_index()
    shown = ratio.pivot_table(index="way", columns=["k", "set"], values="ratio")
    for k in sorted(table["k"].unique()):
        shown[k, "mean"] = shown[k].mean(axis=1)
    return shown.sort_index(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("-k", nargs="+", type=int, default=[5, 10, 20])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--out", type=Path, default=Path("pick.csv"))
    options = parser.parse_args()
    packaged = options.backbone != "squeezenet1_0"
    parts = []
    for name in options.sets:
        source, size = SETS[name]
        manifest = read_manifest(data_folder() / name / source)
        images = Features.of(manifest, 224 if packaged else size, options.backbone,
                             "auto" if packaged else weights_file(), mirrored=False)  # fmt: skip
        for draw in range(options.draws):
            parts.append(pd.DataFrame(errors(images, options.ways, options.k, draw)))
            parts[-1]["set"] = name
    table = pd.concat(parts, ignore_index=True)
    table.to_csv(options.out, index=False)
    print(ratios(table).round(2).to_string())


if __name__ == "__main__":
    main()
