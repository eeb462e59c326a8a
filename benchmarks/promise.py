"""Is the promise kept? Violations over many redraws of the labelled images, by whole groups.

For each set and redraw (`benchmarks.protocol`, seeds from 1000): learn from k labelled images a
class with the rest as the unlabelled pool, choose the threshold for each promised error E as
`assign` does (images of the rest help each other where held-out labels gain by it), and look at
the true error of what it would assign. A violation is a redraw whose true error is above E; at
confidence C there may be one in 1 / (1 − C) redraws. The error is the promised one: the mean over
groups where there are groups. Self-training is off for time. Where a draw has too few groups to
promise anything, nothing is learned, because nothing would be assigned.

    CLUSTERKIT_DATA=… python -m benchmarks.promise --out promise.csv --redraws 200
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers import oracle_coverage
from benchmarks.protocol import SETS, Features, data_folder, draw, refined_rest, weights_file
from clusterkit import read_manifest
from clusterkit.config import Config, override
from clusterkit.data.splits import units_of
from clusterkit.methods.calibration_error import calibration_error
from clusterkit.methods.prediction_sets import class_set_thresholds, label_sets
from clusterkit.methods.risk_control import units_needed

ERRORS = (0.02, 0.05, 0.1)
LEVEL = 0.9


def redraw(features: Features, k: int, seed: int) -> list[dict]:
    """Return one row for each promised error."""
    labelled, rest = (part.index.to_numpy() for part in draw(features.manifest, k, seed))
    units = len(np.unique(units_of(features.manifest.iloc[labelled].reset_index(drop=True))))
    if units < min(units_needed(error, LEVEL) for error in ERRORS):
        return [{"E": error, "units": units, "coverage": 0.0, "error": 0.0, "group_error": 0.0}
                for error in ERRORS]  # fmt: skip
    learned = features.learn(labelled, rest, override(Config(), train__self_training=0))
    probs, calibration, used = refined_rest(learned, features.views[0, rest])
    truth, confidence = features.labels[rest], probs.max(axis=1)
    right, rows = probs.argmax(axis=1) == truth, np.arange(len(truth))
    groups = units_of(features.manifest.iloc[rest].reset_index(drop=True))
    entry = class_set_thresholds(calibration.true_prob, calibration.labels, probs.shape[1], LEVEL)
    shared = {
        "units": units,
        "transduction": used,
        "accuracy": right.mean(),
        "calibration_error": calibration_error(confidence, right),
        "set_coverage": label_sets(probs, entry)[rows, truth].mean(),
    }
    result = []
    for error in ERRORS:
        promise = calibration.promise(error, LEVEL)
        sure = confidence >= (2.0 if promise.threshold is None else promise.threshold)
        by_group = pd.Series(~right[sure]).groupby(groups[sure]).mean()
        result.append(shared | {
            "E": error,
            "coverage": sure.mean(),
            "error": float((~right[sure]).mean()) if sure.any() else 0.0,
            "group_error": float(by_group.mean()) if sure.any() else 0.0,
            "oracle_coverage": oracle_coverage(confidence, right, error),
        })  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--redraws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("promise.csv"))
    options = parser.parse_args()
    weights = weights_file()
    rows: list[dict] = []
    for name in options.sets:
        source, size = SETS[name]
        manifest = read_manifest(data_folder() / name / source)
        features = Features.of(manifest, size, "squeezenet1_0", weights)
        for seed in range(1000, 1000 + options.redraws):
            cell = {"set": name, "k": options.k, "seed": seed}
            rows += [cell | row for row in redraw(features, options.k, seed)]
            pd.DataFrame(rows).to_csv(options.out, index=False)
    measured = ["oracle_coverage", "set_coverage", "calibration_error"]
    table = pd.DataFrame(rows)
    # Missing where no redraw had enough groups to be learned from.
    table = table.reindex(columns=table.columns.union(measured, sort=False))
    # A threshold on equal footing: an error above E by less than rounding is none.
    table["violated"] = table["group_error"] > table["E"] + 1e-9
    summary = table.groupby(["set", "E"]).agg(
        redraws=("seed", "size"),
        promised=("coverage", lambda values: (values > 0).mean()),
        violated=("violated", "mean"),
        coverage=("coverage", "mean"),
        oracle=("oracle_coverage", "mean"),
        set_coverage=("set_coverage", "mean"),
        calibration_error=("calibration_error", "mean"),
    )
    limit = 1 - LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / options.redraws)
    summary["kept"] = summary["violated"] <= limit
    summary.reset_index().to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    print(summary.round(3).to_string())
    print(f"violations may be at most {limit:.3f} (1 - C and two standard errors)")


if __name__ == "__main__":
    main()
