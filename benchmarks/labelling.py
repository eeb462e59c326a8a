"""Accuracy of labelling the rest from k labelled images a class, through the commands.

For each data set and draw: whole groups in random order give images until every class has k;
a group that gave one gives no image to the rest. Then `clusterkit fit`, `assign` and `audit`,
as a user types them. Beside it, the `logreg` row of the data folder's reference.csv.

    CLUSTERKIT_DATA=… python benchmarks/labelling.py --out labelling.csv
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit import read_assignments, read_manifest

SETS = {"malaria": ("labels.csv", 128), "bccd": ("labels.csv", 128), "busi": (".", 224)}


def draw(manifest: pd.DataFrame, k: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (labelled, rest): k images a class from whole groups, and all other groups."""
    known = manifest[manifest["label"].notna()]
    groups = known["group"].where(known["group"].notna(), known["image"])
    missing = dict.fromkeys(sorted(known["label"].unique()), k)
    taken, used = [], set()
    members = dict(list(known.groupby(groups)))
    for group in np.random.RandomState(seed).permutation(sorted(members)):
        if not any(missing.values()):
            break
        for index, label in members[group]["label"].items():
            if missing[label]:
                missing[label] -= 1
                taken.append(index)
                used.add(group)
    return known.loc[taken], known[~groups.isin(used)]


def run_once(data: Path, name: str, k: int, seed: int, backbone: str, weights: Path) -> dict:
    """Fit, assign and audit one draw; returns its figures."""
    source, size = SETS[name]
    labelled, rest = draw(read_manifest(data / name / source), k, seed)
    with tempfile.TemporaryDirectory() as folder:
        root, run = Path(folder), Path(folder) / "run"
        columns = ["image", "group"] if rest["group"].notna().any() else ["image"]
        labelled[[*columns, "label"]].to_csv(root / "labels.csv", index=False)
        rest[columns].to_csv(root / "rest.csv", index=False)
        images = ["--images", str(data / name), "--run", str(run)]
        started = time.perf_counter()
        clusterkit("fit", root / "labels.csv", *images, "--size", size, "--backbone", backbone,
                   "--weights", weights)  # fmt: skip
        fitted = time.perf_counter()
        summary = json.loads(clusterkit("assign", root / "rest.csv", *images, "--json"))
        assigned = time.perf_counter()
        clusterkit("audit", "--run", run, "--limit", 20)
        table = read_assignments(run / "assignments.csv")
    truth = rest.set_index("image")["label"].loc[table["image"]].to_numpy()
    right = table["predicted_label"].to_numpy() == truth
    return {
        "set": name, "k": k, "seed": seed, "images": len(table), "accuracy": right.mean(),
        "classifier": (table["classifier_label"].to_numpy() == truth).mean(),
        "nearest": (table["nearest_label"].to_numpy() == truth).mean(),
        "assigned": summary["status"]["assigned"], "novel": summary["status"]["novel"],
        "fit_s": fitted - started, "assign_s": assigned - fitted,
        "audit_s": time.perf_counter() - assigned,
    }  # fmt: skip


def clusterkit(*arguments: object) -> str:
    """Run one command and return what it printed."""
    done = subprocess.run(
        ["clusterkit", *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = Path(os.environ["CLUSTERKIT_DATA"])
    weights = options.weights or data / "weights" / "squeezenet1_0_imagenet.pth"
    rows = []
    for name in options.sets:
        for seed in range(options.draws):
            rows.append(run_once(data, name, options.k, seed, options.backbone, weights))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    if options.out:
        table.to_csv(options.out, index=False)
    reference = pd.read_csv(data / "reference.csv").query("method == 'logreg'")
    means = table.groupby(["set", "k"])[["accuracy", "classifier", "nearest", "fit_s", "assign_s"]]
    beside = (
        means.mean()
        .reset_index()
        .merge(reference[["set", "k", "accuracy"]].rename(columns={"accuracy": "reference"}))
    )
    print(beside.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
