"""Two versions of clusterkit on the same input: are their assignments.csv the same, byte for byte?

Runs the demo, malaria with 20 labels per class (seed 0), and bccd likewise with all other images
as the unlabelled pool, through public functions alone, and writes demo.csv, malaria.csv and
bccd.csv. Run it under both versions, then compare the files:

    CLUSTERKIT_DATA=… python -m benchmarks.unchanged --out before
    CLUSTERKIT_DATA=… python -m benchmarks.unchanged --out after
    diff -r before after
"""

import argparse
import hashlib
import os
import tempfile
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit import assign, fit
from clusterkit.config import config_from_dict
from clusterkit.demo import demo

_LABELS, _SEED = 20, 0


def main() -> None:
    """Write both tables, and print their hashes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=["demo", "malaria", "bccd"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("demo", "malaria", "bccd"):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                target = options.out / f"{name}.csv"
                written = _demo(Path(folder)) if name == "demo" else _cells(Path(folder), name)
                # Versions differ in the byte-order mark, and mean the same.
                target.write_bytes(written.read_bytes().removeprefix(BOM_UTF8))
                print(name, hashlib.sha256(target.read_bytes()).hexdigest(), flush=True)


def _demo(folder: Path) -> Path:
    return demo(folder / "demo").assignments


def _cells(folder: Path, name: str) -> Path:
    data = Path(os.environ["CLUSTERKIT_DATA"])
    labelled, rest = _draw(pd.read_csv(data / name / "labels.csv", dtype=str))
    if name == "bccd":
        labelled = pd.concat([labelled, rest.assign(label="")])
    labelled.to_csv(folder / "labelled.csv", index=False)
    rest[["image", "group"]].to_csv(folder / "rest.csv", index=False)
    config = config_from_dict({
        "device": "cpu",
        "data": {"images": str(data / name)},
        "image": {"size": 128},
        "model": {
            "backbone": "squeezenet1_0",
            "weights": str(data / "weights" / "squeezenet1_0_imagenet.pth"),
        },
    })  # fmt: skip
    run = fit(folder / "labelled.csv", config=config, run=folder / "run")
    return assign(run, folder / "rest.csv", config=config).path


def _draw(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take so many images per class from whole groups; images of other groups are the rest."""
    missing = dict.fromkeys(sorted(table["label"].unique()), _LABELS)
    taken, used = [], []
    for group in np.random.RandomState(_SEED).permutation(sorted(table["group"].unique())):
        if not any(missing.values()):
            break
        for index, label in table["label"][table["group"] == group].items():
            if missing[label]:
                missing[label] -= 1
                taken.append(index)
                used.append(group)
    return table.loc[taken], table[~table["group"].isin(used)]


if __name__ == "__main__":
    main()
