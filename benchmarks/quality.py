"""Labelling quality beside what a user would pick instead, on the same draws and weights.

For each set and draw (`benchmarks.protocol`): clusterkit through its public functions (`fit`
with the rest as unlabelled rows, then `assign`), and scikit-learn's classifiers on frozen
features of the same backbone: those of the last map, as in reference.csv, and those of all
depths that clusterkit itself uses. Writes quality.csv (one row a draw and method),
quality.json (the figures that issue 4 asks for) and quality.png.

    CLUSTERKIT_DATA=… python -m benchmarks.quality --out results
    python -m benchmarks.quality --data my/labels.csv --size 224 --weights auto --out results
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers import METHODS, oracle_coverage, predict
from benchmarks.protocol import SETS, Features, data_folder, draw, weights_file
from clusterkit import assign, fit, read_manifest
from clusterkit.config import config_from_dict
from clusterkit.methods.calibration_error import calibration_error, top_bin_error

ERROR = 0.05
CALIBRATION = ("calibration_error", "top_calibration_error", "calibration_noise")


def main() -> None:
    """Measure, print and write."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    sources = _sources(options)
    rows: list[dict] = []
    loaded = {}
    for name, (source, size) in sources.items():
        manifest = read_manifest(source)
        manifest = manifest[manifest["label"].notna()].reset_index(drop=True)
        loaded[name] = Features.of(
            manifest, size, options.backbone, options.weights, mirrored=False
        )
    # Draw by draw, and written after each: an interrupted benchmark has all cells of some draws.
    seeds = range(options.first_draw, options.first_draw + options.draws)
    for seed, name, k in product(seeds, sources, options.k):
        cell = {"set": name, "k": k, "seed": seed}
        rows += [cell | row for row in _peers(loaded[name], k, seed)]
        for strategy in options.strategies:
            row = _clusterkit(loaded[name], *sources[name], k, seed, strategy, options)
            rows.append(cell | row)
            print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(options.out / "quality.csv", index=False)
    table = pd.DataFrame(rows)
    summary = summarise(table)
    (options.out / "quality.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw_plot(table, options.out / "quality.png")
    print(json.dumps(summary, indent=1))


def _peers(features: Features, k: int, seed: int) -> list[dict]:
    labelled, rest = (part.index.to_numpy() for part in draw(features.manifest, k, seed))
    classes = np.unique(features.labels[labelled], return_inverse=True)[1]
    truth = features.labels[rest]
    rows = []
    for kind, values in (("last", features.last), ("all", features.views[0])):
        for method in METHODS:
            predicted, confidence = predict(method, values.numpy(), labelled, rest, classes)
            rows.append({"method": f"{method}/{kind}", **_figures(predicted == truth, confidence)})
    return rows


def _figures(right: np.ndarray, confidence: np.ndarray) -> dict:
    return {
        "images": len(right),
        "accuracy": float(right.mean()),
        "oracle_coverage": oracle_coverage(confidence, right, ERROR),
        "calibration_error": calibration_error(confidence, right),
        "top_calibration_error": top_bin_error(confidence, right),
        "calibration_noise": calibration_noise(confidence),
    }


def _clusterkit(
    features: Features,
    source: Path,
    size: int,
    k: int,
    seed: int,
    strategy: str,
    options: argparse.Namespace,
) -> dict:
    labelled, rest = draw(features.manifest, k, seed)
    images = source.parent if source.is_file() else source
    settings = {
        "device": "cpu",
        "data": {"images": str(images)},
        "image": {"size": size},
        "model": {"backbone": options.backbone, "weights": str(options.weights)},
        "train": {"strategy": strategy},
        "assign": {"max_error": ERROR},
    }
    config = config_from_dict(settings)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grouped = features.manifest["group"].notna().any()
        columns = ["image", "group"] if grouped else ["image"]
        everything = pd.concat([labelled[[*columns, "label"]], rest[columns]])
        everything.to_csv(root / "labels.csv", index=False)
        rest[columns].to_csv(root / "rest.csv", index=False)
        started = time.perf_counter()
        run = fit(root / "labels.csv", config=config, run=root / "run")
        fitted = time.perf_counter()
        result = assign(run, root / "rest.csv", config=config)
        assigned = time.perf_counter()
    table = result.table.set_index("image")
    truth = rest.set_index("image")["label"].loc[table.index].to_numpy()
    right = (table["predicted_label"] == truth).to_numpy()
    sure = (table["status"] == "assigned").to_numpy()
    sets = [t in s.split("|") for t, s in zip(truth, table["label_set"], strict=True)]
    decisions, metrics = run.info["decisions"], run.info["metrics"]
    return {
        "method": f"clusterkit/{strategy}",
        **_figures(right, table["confidence"].to_numpy()),
        "classifier": float((table["classifier_label"] == truth).mean()),
        "nearest": float((table["nearest_label"] == truth).mean()),
        "coverage": float(sure.mean()),
        "assigned_error": float((~right[sure]).mean()) if sure.any() else 0.0,
        "novel": float((table["status"] == "novel").mean()),
        "set_coverage": float(np.mean(sets)),
        "gate_recall": metrics["gate_recall"],
        "held_out_accuracy": metrics["accuracy"],
        "units": metrics["held_out_units"],
        "inputs": decisions["inputs"],
        "self_training": decisions["self_training"]["rounds"],
        "fit_s": fitted - started,
        "assign_s": assigned - fitted,
    }


def calibration_noise(confidence: np.ndarray, draws: int = 100) -> float:
    """Return the mean calibration error in [0, 1] of labels that are right as often as is said.

    No score can be expected to have less on as many images (n,).
    """
    rng = np.random.default_rng(0)
    return float(np.mean([
        calibration_error(confidence, rng.random(len(confidence)) < confidence)
        for _ in range(draws)
    ]))  # fmt: skip


def summarise(table: pd.DataFrame) -> dict:
    """Return the figures of issue 4 from the rows of `quality.csv`."""
    means = table.groupby(["set", "k", "method"]).mean(numeric_only=True)
    cells = means.groupby(level=["set", "k"])
    summary: dict = {"cells": {}}
    for (name, k), cell in cells:
        cell = cell.droplevel(["set", "k"])
        row: dict = {}
        for kind in ("last", "all"):
            peers = cell[cell.index.str.endswith(f"/{kind}")]
            best = peers["accuracy"].idxmax()
            row[f"best_{kind}"] = best
            row[f"best_{kind}_accuracy"] = peers["accuracy"].max()
            row[f"best_{kind}_oracle_coverage"] = peers["oracle_coverage"].max()
        for method in cell.index[cell.index.str.startswith("clusterkit/")]:
            ours = cell.loc[method]
            kept = ["accuracy", "classifier", "nearest", "oracle_coverage", "coverage",
                    "assigned_error", *CALIBRATION, "set_coverage",
                    "gate_recall", "novel", "fit_s", "assign_s"]  # fmt: skip
            row[method] = ours[kept].to_dict()
            for kind in ("last", "all"):
                error = 1 - row[f"best_{kind}_accuracy"]
                row[method][f"error_ratio_{kind}"] = (1 - ours["accuracy"]) / error
        summary["cells"][f"{name} {k}"] = row
    for method in sorted(m for m in table["method"].unique() if m.startswith("clusterkit/")):
        ours = [c for c in summary["cells"].values() if method in c]
        enough = [c[method] for key, c in summary["cells"].items()
                  if method in c and int(key.split()[-1]) >= 20]  # fmt: skip
        summary[method] = {
            "mean_error_ratio_last": float(np.mean([c[method]["error_ratio_last"] for c in ours])),
            "mean_error_ratio_all": float(np.mean([c[method]["error_ratio_all"] for c in ours])),
            "worst_accuracy_gap_last": float(
                min(c[method]["accuracy"] - c["best_last_accuracy"] for c in ours)
            ),
            **{
                f"mean_{name}": float(np.mean([c[name] for c in enough])) if enough else None
                for name in CALIBRATION
            },
        }
    return summary


def draw_plot(table: pd.DataFrame, path: Path) -> None:
    """Draw error against labels a class: one panel a set, one line a method."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(table["set"].unique())
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 4), squeeze=False)
    for name, axis in zip(names, axes[0], strict=True):
        means = table[table["set"] == name].groupby(["method", "k"])["accuracy"].mean()
        for method in table["method"].unique():
            if method.endswith("/all") or method not in means.index:
                continue
            ours = method.startswith("clusterkit")
            style = {"linewidth": 2.5, "color": "black"} if ours else {"linestyle": "--"}
            values = 100 * (1 - means[method])
            axis.plot(values.index, values, marker="o", label=method, **style)
        axis.set(title=name, xlabel="labelled images a class", ylabel="wrong labels, %")
        counts = sorted(table["k"].unique())
        axis.set_xscale("log")
        axis.set_xticks(counts, [str(k) for k in counts])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _sources(options: argparse.Namespace) -> dict[str, tuple[Path, int]]:
    if options.data:
        return {options.data.stem: (options.data, options.size)}
    return {n: (data_folder() / n / SETS[n][0], SETS[n][1]) for n in options.sets}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--data", type=Path, help="a manifest of one's own, instead of the sets")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("-k", type=int, nargs="+", default=[5, 20, 50])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first-draw", type=int, default=0, help="its seed")
    parser.add_argument("--strategies", nargs="+", default=["head"], choices=["head", "finetune"])
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.weights is None:
        options.weights = weights_file()
    return options


if __name__ == "__main__":
    main()
