"""What transduction in `assign` brings: errors with it and without, with no pool given to `fit`.

For each set, k and draw (`benchmarks.protocol`): learn from k labelled images a class, label the
rest as one batch by `assign`'s own functions, once with and once without the help of neighbours.
Writes a row a draw, and prints means and the mean ratio of errors.

    CLUSTERKIT_DATA=… python -m benchmarks.transduction --out transduction.csv
"""

import argparse
import pickle
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from benchmarks.protocol import (
    SETS,
    Features,
    data_folder,
    draw,
    refined_rest,
    score_rest,
    weights_file,
)
from clusterkit import read_manifest
from clusterkit.config import Config
from clusterkit.methods.calibration_error import calibration_error, top_bin_error


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    rows: list[dict] = []
    for name in options.sets:
        features = _features(name, options)
        for seed, k in product(range(options.draws), options.k):
            rows.append({"set": name, "k": k, "seed": seed, **measure(features, k, seed, options)})
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.out, index=False)
    means = pd.DataFrame(rows).groupby(["set", "k"]).mean()
    means["ratio"] = means["with"] / means["without"]
    print(means.round(4).to_string())
    print("mean ratio by k:", means.groupby("k")["ratio"].mean().round(3).to_dict())


def measure(features: Features, k: int, seed: int, options: argparse.Namespace) -> dict:
    """Return the errors of one draw."""
    labelled, rest = (part.index.to_numpy() for part in draw(features.manifest, k, seed))
    learned = features.learn(labelled, rest if options.pool else None, Config())
    batch, truth = features.views[0, rest], features.labels[rest]
    plain, _, _ = score_rest(learned, batch)
    refined, _, used = refined_rest(learned, batch)
    right, before = refined.argmax(axis=1) == truth, plain.argmax(axis=1) == truth
    return {
        "units": learned.calibration.n_units,
        "without": float((~before).mean()),
        "with": float((~right).mean()),
        "used": used,
        "calibration_error_without": calibration_error(plain.max(axis=1), before),
        "calibration_error_with": calibration_error(refined.max(axis=1), right),
        "top_calibration_error_without": top_bin_error(plain.max(axis=1), before),
        "top_calibration_error_with": top_bin_error(refined.max(axis=1), right),
    }


def _features(name: str, options: argparse.Namespace) -> Features:
    """Read the features of a set that were computed before, or compute and keep them."""
    kept = options.cache and options.cache / f"{name}_{options.backbone}.pkl"
    if kept and kept.exists():
        return pickle.loads(kept.read_bytes())
    source, size = SETS[name]
    manifest = read_manifest(data_folder() / name / source)
    manifest = manifest[manifest["label"].notna()].reset_index(drop=True)
    weights = weights_file() if options.backbone.startswith("squeezenet") else "auto"
    size = size if options.backbone.startswith("squeezenet") else 224
    features = Features.of(manifest, size, options.backbone, weights)
    if kept:
        kept.write_bytes(pickle.dumps(features))
    return features


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("-k", type=int, nargs="+", default=[5, 20, 50])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--pool", action="store_true", help="the rest is given to fit, too")
    parser.add_argument("--cache", type=Path, help="folder of features, to be kept between calls")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
