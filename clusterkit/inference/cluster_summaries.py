"""Clusters of refused images described, so that a person can name them."""

import numpy as np
import pandas as pd

from clusterkit.inference.evidence import Evidence


def summarise_clusters(table: pd.DataFrame, evidence: Evidence) -> list[dict]:
    """Describe each cluster of at least two images, so that a person can name it.

    Parameters
    ----------
    table : DataFrame (N)
        Columns image, image_id, cluster, predicted_label.
    evidence : Evidence (N)
        With ``reduced``: reduced features (N, P).

    Returns
    -------
    list of dict by cluster number: cluster, size, medoid (the image nearest the mean of the
    cluster) with its medoid_id, labels (how many members lean to each).
    """
    numbers = table["cluster"].to_numpy(dtype=int, na_value=-1)
    sizes = np.bincount(numbers[numbers >= 0])
    out = []
    for number, medoid in enumerate(_medoids(numbers, sizes, evidence)):
        if sizes[number] < 2:
            continue
        counts = table["predicted_label"][numbers == number].value_counts()
        labels = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        out.append({
            "cluster": number, "size": int(sizes[number]), "medoid": table["image"].iloc[medoid],
            "medoid_id": table["image_id"].iloc[medoid], "labels": {k: int(v) for k, v in labels},
        })  # fmt: skip
    return out


def _medoids(numbers: np.ndarray, sizes: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Return the row (C,) nearest the mean of each cluster; numbers (N,), -1: in none."""
    means, medoids = 0.0, np.zeros(len(sizes), dtype=int)
    nearest = np.full(len(sizes), np.inf)
    for rows, part in evidence.parts("reduced"):
        members = np.flatnonzero(numbers[rows] >= 0)
        members = members[np.argsort(numbers[rows][members], kind="stable")]
        found, first = np.unique(numbers[rows][members], return_index=True)
        sums = np.zeros((len(sizes), part["reduced"].shape[1]))
        if len(found):
            sums[found] = np.add.reduceat(part["reduced"][members].astype(float), first)
        means = means + sums / np.maximum(sizes, 1)[:, None]
    for rows, part in evidence.parts("reduced"):
        members = np.flatnonzero(numbers[rows] >= 0)
        own = numbers[rows][members]
        distance = np.linalg.norm(part["reduced"][members] - means[own], axis=1)
        order = np.lexsort([distance, own])
        found, first = np.unique(own[order], return_index=True)
        best = order[first]
        closer = distance[best] < nearest[found]
        found, best = found[closer], best[closer]
        nearest[found], medoids[found] = distance[best], rows.start + members[best]
    return medoids
