"""Summaries of clusters against a plain loop."""

import numpy as np
import pandas as pd

from clusterkit.inference.cluster_summaries import summarise_clusters
from clusterkit.inference.evidence import Evidence


def test_cluster_summaries_against_a_plain_loop():
    rng = np.random.default_rng(4)
    reduced = rng.normal(size=(20, 3))
    table = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(20)],
            "image_id": [f"id{i}" for i in range(20)],
            "cluster": pd.array([*[0] * 8, *[1] * 5, 2, 3, *[None] * 5], dtype="Int64"),
            "predicted_label": rng.choice(["a", "b"], 20),
        }
    )
    found = summarise_clusters(table, Evidence({"reduced": reduced}))
    assert [(c["cluster"], c["size"]) for c in found] == [(0, 8), (1, 5)]
    for cluster in found:
        rows = [i for i in range(20) if table["cluster"][i] is not pd.NA
                and table["cluster"][i] == cluster["cluster"]]  # fmt: skip
        mean = sum(reduced[i] for i in rows) / len(rows)
        best = min(rows, key=lambda i: ((reduced[i] - mean) ** 2).sum())
        assert (cluster["medoid"], cluster["medoid_id"]) == (f"{best}.png", f"id{best}")
        counts = {x: sum(table["predicted_label"][i] == x for i in rows) for x in "ab"}
        assert cluster["labels"] == {k: v for k, v in counts.items() if v}
        assert list(cluster["labels"].values()) == sorted(cluster["labels"].values(), reverse=True)
