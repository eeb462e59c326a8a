"""Which encoder tells the classes apart? The classifier alone, on the features of several.

    python -m benchmarks.encoders --backbones tf_efficientnet_lite0 squeezenet1_0=FILE --out OUT.csv

Without neighbours, similarity and mirror images: minutes, where `benchmarks.quality` takes hours.
The draws are those of `protocol.py`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.protocol import SETS, Features, data_folder, draw
from clusterkit import read_manifest
from clusterkit.config import Config
from clusterkit.training.linear import fit_linear_head


def accuracy(features: Features, k: int, seed: int) -> float:
    """Return the classifier's share of right labels on the rest of one draw."""
    labelled, rest = (rows.index.to_numpy() for rows in draw(features.manifest, k, seed))
    truth = features.manifest["label"].to_numpy(str)
    classes, labels = np.unique(truth[labelled], return_inverse=True)
    head = fit_linear_head(
        features.views[:, labelled], labels, np.bincount(labels) / len(labels),
        features.backbone.encoder.chains, Config().train.C,
    )  # fmt: skip
    with torch.inference_mode():
        found = classes[head(features.views[0, rest]).argmax(1).numpy()]
    return float((found == truth[rest]).mean())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbones", nargs="+", required=True, help="NAME or NAME=WEIGHTS")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--k", nargs="+", type=int, default=[5, 20, 50])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        source, size = SETS[name]
        manifest = read_manifest(data_folder() / name / source)
        manifest = manifest[manifest["label"].notna()].reset_index(drop=True)
        for given in options.backbones:
            backbone, _, weights = given.partition("=")
            features = Features.of(manifest, size, backbone, weights or "auto", mirrored=False)
            for k in options.k:
                found = [accuracy(features, k, seed) for seed in range(options.draws)]
                rows += [(name, backbone, k, seed, a) for seed, a in enumerate(found)]
                print(f"{name:8} {backbone:40} {k:3} {np.mean(found):.3f}", flush=True)
    columns = ["set", "backbone", "k", "seed", "accuracy"]
    pd.DataFrame(rows, columns=columns).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
