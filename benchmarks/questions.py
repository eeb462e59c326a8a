"""Accuracy against the number of reviewed images, asked in several orders.

For each data set and draw: k labelled images a class as in `benchmarks/protocol.py`. Half of
the other groups, the same for all orders, are never asked and measure; the rest are asked in
batches, answered by the truth, and after each batch the linear head of `clusterkit fit` is
fitted anew on frozen features. "needed" is how many reviewed images reach the accuracy that
random order reaches with all.

    CLUSTERKIT_DATA=… python -m benchmarks.questions --out questions

writes questions.csv (every point), questions.json (the summary) and questions.png.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.cluster import KMeans

from benchmarks.protocol import SETS, Features, data_folder, draw, weights_file
from clusterkit import read_manifest
from clusterkit.config import Config
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.active_learning import order_questions
from clusterkit.training.linear import fit_linear_head

# Random order is itself a draw: its curve is the mean of so many.
_REPEATS = 5


@dataclass(frozen=True)
class Pool:
    """What an order may know: of images that can be asked, and of labelled ones (E, P)."""

    probs: np.ndarray  # (N, K)
    reduced: np.ndarray  # (N, P)
    labelled: np.ndarray  # (E, P)
    groups: np.ndarray
    rng: np.random.Generator

    @property
    def margin(self) -> np.ndarray:
        """(N,) float: one minus the margin, as the library has it."""
        top = np.sort(self.probs, axis=1)
        return 1 - (top[:, -1] - top[:, -2])


def in_library_order(pool: Pool, count: int) -> np.ndarray:
    """The order of `clusterkit assign`."""
    unknown = np.zeros(len(pool.probs), dtype=bool)
    order = order_questions(pool.probs, pool.reduced, pool.groups, unknown, pool.labelled, count)
    return np.argsort(np.where(order > 0, order, len(order) + 1), kind="stable")[:count]


def in_random_order(pool: Pool, count: int) -> np.ndarray:
    return pool.rng.permutation(len(pool.probs))[:count]


def by_margin(pool: Pool, count: int) -> np.ndarray:
    return np.argsort(-pool.margin, kind="stable")[:count]


def by_entropy(pool: Pool, count: int) -> np.ndarray:
    entropy = -(pool.probs * np.log(np.maximum(pool.probs, 1e-12))).sum(axis=1)
    return np.argsort(-entropy, kind="stable")[:count]


def by_margin_and_density(pool: Pool, count: int) -> np.ndarray:
    """Uncertainty times density, without diversity."""
    points = pool.reduced / np.linalg.norm(pool.reduced, axis=1, keepdims=True)
    cosine = points @ points.T
    np.fill_diagonal(cosine, -np.inf)
    density = np.sort(cosine, axis=1)[:, -min(10, len(points) - 1) :].mean(axis=1)
    return np.argsort(-pool.margin * np.maximum(density, 0.01), kind="stable")[:count]


def by_margin_in_clusters(pool: Pool, count: int) -> np.ndarray:
    """Of the most uncertain, one near each centre of a weighted k-means (Zhdanov 2019)."""
    top = by_margin(pool, 10 * count)
    points, weight = pool.reduced[top], pool.margin[top] + 1e-6
    means = KMeans(min(count, len(top)), n_init=1, random_state=0).fit(points, sample_weight=weight)
    distance = means.transform(points)
    own = [np.flatnonzero(means.labels_ == c) for c in range(distance.shape[1])]
    return np.array([top[rows[distance[rows, c].argmin()]] for c, rows in enumerate(own)])


ORDERS: dict[str, Callable[[Pool, int], np.ndarray]] = {
    "clusterkit": in_library_order,
    "random": in_random_order,
    "margin": by_margin,
    "entropy": by_entropy,
    "margin x density": by_margin_and_density,
    "margin, k-means": by_margin_in_clusters,
}


def halves(rest: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows by whole groups into (those that may be asked, those that measure)."""
    groups = rest["group"].where(rest["group"].notna(), rest["image"])
    names = np.random.RandomState(1000 + seed).permutation(sorted(groups.unique()))
    measures = groups.isin(names[: len(names) // 2]).to_numpy()
    return rest.index[~measures].to_numpy(), rest.index[measures].to_numpy()


def curve(
    images: Features, order: Callable, seed: int, k: int, total: int, batch: int, repeat: int = 0
) -> list[float]:
    """Return the accuracy after 0, batch, …, total answers."""
    labelled, rest = draw(images.manifest, k, seed)
    pool, test = halves(rest, seed)
    rows, labels, features = labelled.index.to_numpy(), images.labels, images.views[0]
    groups = images.manifest["group"].fillna("").to_numpy().astype(str)
    chains = images.backbone.encoder.chains
    reduced = Reduction.of(features[np.r_[rows, pool]], chains, 0)(features)
    rng, out = np.random.default_rng((seed, repeat)), []
    for asked in range(0, total + 1, batch):
        prior = np.bincount(labels[rows], minlength=len(images.classes)) / len(rows)
        head = fit_linear_head(features[None, rows], labels[rows], prior, chains, Config().train.C)
        with torch.inference_mode():
            out.append(float((head(features[test]).numpy().argmax(1) == labels[test]).mean()))
            probs = softmax(head(features[pool]).numpy(), axis=1)
        if asked < total:
            chosen = order(Pool(probs, reduced[pool], reduced[rows], groups[pool], rng), batch)
            rows, pool = np.r_[rows, pool[chosen]], np.delete(pool, chosen)
    return out


def summarise(table: pd.DataFrame) -> dict:
    """Mean curve of each set and order, and how many answers reach random order's last point."""
    out: dict = {}
    for name, part in table.groupby("set", sort=False):
        curves = part.pivot_table(index="order", columns="reviewed", values="accuracy", sort=False)
        target = curves.loc["random"].iloc[-1]
        out[name] = {"random_with_all": round(float(target), 4), "orders": {}}
        for order, values in curves.iterrows():
            reached = values.index[values >= target]
            out[name]["orders"][order] = {
                "needed": int(reached[0]) if len(reached) else None,
                "mean_accuracy": round(float(values.iloc[1:].mean()), 4),
                "accuracy": {int(n): round(float(a), 4) for n, a in values.items()},
            }
    return out


def plot(summary: dict, path: Path) -> None:
    """One panel a data set: accuracy by reviewed images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(summary), 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(summary), squeeze=False)[0]
    for axis, (name, found) in zip(axes, summary.items(), strict=True):
        for order, values in found["orders"].items():
            main = order in ("clusterkit", "random")
            axis.plot(list(values["accuracy"]), list(values["accuracy"].values()), label=order,
                      linewidth=2.2 if main else 0.9, alpha=1 if main else 0.6)  # fmt: skip
        axis.axhline(found["random_with_all"], color="grey", linewidth=0.6, linestyle=":")
        axis.set(title=name, xlabel="reviewed images", ylabel="accuracy on images never asked")
    axes[0].legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--orders", nargs="+", default=list(ORDERS), choices=list(ORDERS))
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--total", type=int, default=100)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("questions"))
    options = parser.parse_args()
    orders = list(dict.fromkeys([*options.orders, "random"]))
    rows = []
    for name in options.sets:
        source, size = SETS[name]
        manifest, weights = read_manifest(data_folder() / name / source), weights_file()
        images = Features.of(manifest, size, "squeezenet1_0", weights, mirrored=False)
        for order in orders:
            started = time.perf_counter()
            repeats = _REPEATS if order == "random" else 1
            for seed in range(options.first_draw, options.first_draw + options.draws):
                for repeat in range(repeats):
                    found = curve(images, ORDERS[order], seed, options.k, options.total,
                                  options.batch, repeat)  # fmt: skip
                    rows += [{"set": name, "order": order, "draw": seed, "repeat": repeat,
                              "reviewed": i * options.batch, "accuracy": a}
                             for i, a in enumerate(found)]  # fmt: skip
            print(f"{name}: {order}, {time.perf_counter() - started:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    summary = summarise(table)
    table.to_csv(options.out.with_suffix(".csv"), index=False)
    options.out.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    plot(summary, options.out.with_suffix(".png"))
    for name, found in summary.items():
        shown = pd.DataFrame(
            {order: v["accuracy"] | {"mean": v["mean_accuracy"], "needed": v["needed"]}
             for order, v in found["orders"].items()}
        ).T  # fmt: skip
        print(f"\n{name}: random order with all reaches {found['random_with_all']:.3f}")
        print(shown.to_string())


if __name__ == "__main__":
    main()
