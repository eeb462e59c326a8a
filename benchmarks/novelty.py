"""Is a class that nobody labelled found, and is what is called novel novel? And the clusters.

For each data set, class left out (or none) and draw: k labelled images of each other class from
whole groups, as in `protocol.py`; the batch is all images of the other groups, with the class
left out among them. Features are computed once a set, then everything is the library's: `learn`
on the labelled, `build_table` on the batch. With ``--demo``, the demo's sample and its unknown
class through `fit` and `assign`, one sample a draw.

Written: AUROC of 1 − novelty_p, how many were called novel, the part of them that was not, and
for the refused images how the clusters compare with k-means on the same features (adjusted
mutual information with the true classes, and purity).

    CLUSTERKIT_DATA=… python -m benchmarks.novelty --out novelty.csv --demo 2
"""

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, roc_auc_score

from benchmarks.protocol import SETS, Features, data_folder, draw_without, weights_file
from clusterkit import assign, fit, read_manifest
from clusterkit.config import Config, config_from_dict, override
from clusterkit.demo import DEMO
from clusterkit.formats.run import Run
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.predictor import score_batch
from clusterkit.inference.rows import build_table
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.models.networks import Embeddings
from clusterkit.sample import UNKNOWN_CLASS, make_sample

_LEFT_OUT = {"bccd": ["Platelets", "RBC", "WBC"], "malaria": [None], "busi": [None]}


def run_once(features: Features, name: str, left: str | None, k: int, seed: int) -> dict:
    """Label k images of each class but `left`, scorer the rest; returns the figures."""
    rows, everything, appearance = features.manifest, features.views[0], features.appearance
    taken, rest = draw_without(rows, left, k, seed)
    # Self-training and long Siamese training cost most of the time; novelty rests on neither.
    config = override(Config(), train__self_training=0, train__siamese_epochs=1)
    known, batch = taken.index.to_numpy(), rest.index.to_numpy()
    learned = features.learn(known, batch, config)
    model = NoveltyModel.of(everything[known], appearance[known], learned.scorer.gallery.labels)
    fusion, embeddings = (
        learned.calibration.fusion,
        Embeddings(everything[batch], everything[batch]),
    )
    evidence = {
        "ids": rest["image_id"].to_numpy(),
        "errors": np.full(len(rest), ""),
        "near": np.full(len(rest), -1),
        "near_score": np.zeros(len(rest)),
        **score_batch(learned.scorer, fusion, model, embeddings, appearance[batch]),
    }
    reduction = learned.scorer.reduction
    gallery = {"features": everything[known], "centre": reduction.centre,
               "projection": reduction.projection}  # fmt: skip
    classes, manifest = sorted(taken["label"].unique()), taken.reset_index(drop=True)
    info = SimpleNamespace(classes=classes, without_label={})
    run = Run(Path(), info, config, learned.scorer.networks, manifest, gallery,
              learned.calibration.to_dict(), pd.DataFrame())  # fmt: skip
    held = Evidence(evidence)
    context = DecisionRule.of(run, config, held)
    table = build_table(rest.reset_index(drop=True), held, context)
    truth = rest["label"].to_numpy()
    return {"set": name, "left_out": left or "", "k": k, "seed": seed} | figures(
        table, truth, truth == left, evidence["reduced"], seed
    )


def figures(table: pd.DataFrame, truth: np.ndarray, novel: np.ndarray, reduced, seed: int) -> dict:
    """Compare a table (N) with the truth: novelty, then clusters."""
    p = table["novelty_p"].to_numpy(float)
    called = (table["status"] == "novel").to_numpy()
    found = {
        "images": len(table),
        "novel": int(novel.sum()),
        "auroc": roc_auc_score(novel, -p) if novel.any() else np.nan,
        "called": int(called.sum()),
        "false_discoveries": float((called & ~novel).sum() / max(1, called.sum())),
        "found": float((called & novel).sum() / max(1, novel.sum())),
        "known_below_0.05": float((p[~novel] <= 0.05).mean()),
    }
    refused = table["status"].isin(["review", "novel"]).to_numpy()
    if reduced is None or refused.sum() < 2:
        return found
    clusters, true = table["cluster"][refused].to_numpy(int), truth[refused]
    found |= cluster_figures(true, clusters)
    for name, count in {"true": len(np.unique(true)), "found": found["clusters"]}.items():
        means = KMeans(count, n_init=10, random_state=seed).fit_predict(reduced[refused])
        found[f"kmeans_{name}_ami"] = adjusted_mutual_info_score(true, means)
        found[f"kmeans_{name}_purity"] = purity(true, means)
    return found


def cluster_figures(true: np.ndarray, clusters: np.ndarray) -> dict:
    """Compare clusters (n,) of refused images with their classes (n,)."""
    return {
        "refused": len(true),
        "clusters": len(np.unique(clusters)),
        "ami": adjusted_mutual_info_score(true, clusters),
        "purity": purity(true, clusters),
        "alone": float((np.bincount(clusters) == 1).sum() / len(true)),
    }


def purity(true: np.ndarray, clusters: np.ndarray) -> float:
    """Return the part of images that are of the commonest class of their cluster."""
    table = pd.crosstab(clusters, true).to_numpy()
    return float(table.max(axis=1).sum() / table.sum())


def run_demo(seed: int) -> dict:
    """Fit and assign one of the demo's samples through the public API."""
    with tempfile.TemporaryDirectory() as folder:
        root, config = Path(folder), config_from_dict(DEMO)
        make_sample(root / "sample", seed=seed)
        run = fit(root / "sample" / "labels.csv", config=config, run=root / "run")
        table = assign(run, root / "sample" / "unlabeled.csv", config=config).table
        truth = pd.read_csv(root / "sample" / "truth.csv", keep_default_na=False)
    table = table[~table["status"].isin(["failed", "duplicate"])]
    label = truth.drop_duplicates("image").set_index("image")["label"].loc[table["image"]]
    label = label.to_numpy()
    found = figures(table, label, label == UNKNOWN_CLASS, None, seed)
    return {"set": "demo", "left_out": UNKNOWN_CLASS, "k": 72, "seed": seed} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(_LEFT_OUT), choices=list(_LEFT_OUT))
    parser.add_argument("-k", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--demo", type=int, default=0, help="samples of the demo")
    parser.add_argument("--out", type=Path, default=Path("novelty.csv"))
    options = parser.parse_args()
    rows: list[dict] = []
    weights = weights_file()
    for name in options.sets:
        source, size = SETS[name]
        manifest = read_manifest(data_folder() / name / source)
        loaded = Features.of(manifest, size, "squeezenet1_0", weights, mirrored=False)
        cases = [(left, k, s) for left in _LEFT_OUT[name] for k in options.k
                 for s in range(options.draws)]  # fmt: skip
        for case in cases:
            rows.append(run_once(loaded, name, *case))
            print(rows[-1], flush=True)
    for seed in range(options.demo):
        rows.append(run_demo(seed))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    means = table.groupby(["set", "left_out", "k"]).mean(numeric_only=True).drop(columns="seed")
    means.reset_index().to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    print(means.T.round(3).to_string())


if __name__ == "__main__":
    main()
