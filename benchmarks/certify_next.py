"""What do the answers of a certificate do to the next promise, if they are learned from?

Labelled images (`benchmarks.protocol`, seeds from 1000), then 200 answers more about the batch:
drawn at random, in the order that `certify` asks (which is random within sets of the surest
labels), the surest, or the most doubtful. Learned anew from both; the promise's threshold is
chosen as `assign` does, and the true error of what it would assign among the images that nobody
answered is compared with what was promised. By image, as without groups.

    CLUSTERKIT_DATA=… python -m benchmarks.certify_next --redraws 40
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.protocol import SETS, Features, data_folder, draw, score_rest
from clusterkit import read_manifest
from clusterkit.config import Config, override
from clusterkit.methods.asking import next_to_ask, states_of
from clusterkit.methods.nested_sets import nested_sets

LEVEL, ANSWERS = 0.9, 200


def asked(confidence: np.ndarray, right: np.ndarray, error: float, rng) -> np.ndarray:
    """Return the rows that `certify` asks about, until all is certified or answers are spent."""
    sets, order = nested_sets(confidence, error), rng.permutation(len(right))
    member, truth = sets.member[order], 1.0 - right[order]
    losses = np.full(len(truth), np.nan)
    for _ in range(ANSWERS):
        states = states_of(member, losses, sets.sizes.tolist(), error, LEVEL)
        rank = next_to_ask(member, losses, [state.certified for state in states])
        if rank is None:
            break
        losses[rank] = truth[rank]
    return order[np.isfinite(losses)]


def redraw(features: Features, name: str, k: int, seed: int, error: float) -> list[dict]:
    """Return one row for each kind of answers."""
    config, rng = override(Config(), train__self_training=0), np.random.default_rng(seed)
    labelled, rest = (part.index.to_numpy() for part in draw(features.manifest, k, seed))
    probs, _, _ = score_rest(features.learn(labelled, None, config), features.views[0, rest])
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == features.labels[rest]
    certify = asked(confidence, right, error, rng)
    n = len(certify)
    kinds = {"none": certify[:0], "random": rng.permutation(len(rest))[:n], "certify": certify,
             "surest": np.argsort(-confidence)[:n],
             "doubtful": np.argsort(confidence)[:n]}  # fmt: skip
    rows = []
    for kind, answered in kinds.items():
        known = np.r_[labelled, rest[answered]]
        left = np.setdiff1d(rest, known)
        learned = features.learn(known, None, config)
        probs, calibration, _ = score_rest(learned, features.views[0, left])
        promise = calibration.promise(error, LEVEL)
        sure = probs.max(axis=1) >= (2.0 if promise.threshold is None else promise.threshold)
        wrong = probs.argmax(axis=1) != features.labels[left]
        rows.append({
            "set": name, "seed": seed, "answers": kind, "n": len(answered),
            "accuracy": 1 - wrong.mean(), "promised": bool(sure.any()), "coverage": sure.mean(),
            "error": wrong[sure].mean() if sure.any() else 0.0,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["malaria", "busi"], choices=list(SETS))
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--max-error", type=float, default=0.1)
    parser.add_argument("--redraws", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("certify_next.csv"))
    options = parser.parse_args()
    rows: list[dict] = []
    for name in options.sets:
        source, size = SETS[name]
        manifest = read_manifest(data_folder() / name / source)
        features = Features.of(manifest, size, "tf_efficientnet_lite0", "auto", mirrored=False)
        # Without groups: images of one patient would make every kind of answers look worse.
        features.manifest["group"] = None
        for seed in range(1000, 1000 + options.redraws):
            rows += redraw(features, name, options.k, seed, options.max_error)
            pd.DataFrame(rows).to_csv(options.out, index=False)
    table = pd.DataFrame(rows)
    table["violated"] = table["error"] > options.max_error + 1e-9
    columns = ["n", "accuracy", "promised", "coverage", "error", "violated"]
    print(table.groupby(["set", "answers"], sort=False)[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
