"""Summaries of the clusters of refused images, for the person who names them."""

import numpy as np
import pandas as pd

from clusterkit.formats.assignment_record import ClusterSummary
from clusterkit.inference.evidence import Evidence


def summarise_clusters(table: pd.DataFrame, evidence: Evidence) -> list[ClusterSummary]:
    """Describe each cluster of at least two images, so that a person can name it.

    Parameters
    ----------
    table : DataFrame (N)
        Columns image, image_id, cluster, predicted_label.
    evidence : Evidence (N)
        With ``reduced``: reduced features (N, P).

    Returns
    -------
    list of ClusterSummary, by cluster number
    """
    numbers = table["cluster"].to_numpy(dtype=int, na_value=-1)
    sizes = np.bincount(numbers[numbers >= 0])
    out = []
    for number, medoid in enumerate(_medoids(numbers, sizes, evidence)):
        if sizes[number] < 2:
            continue
        counts = table["predicted_label"][numbers == number].value_counts()
        labels = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        summary = ClusterSummary(
            cluster=number,
            size=int(sizes[number]),
            medoid=str(table["image"].iloc[medoid]),
            medoid_id=str(table["image_id"].iloc[medoid]),
            labels={str(label): int(count) for label, count in labels},
        )
        out.append(summary)
    return out


def _medoids(numbers: np.ndarray, sizes: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Return the row (C,) nearest the mean of each cluster; numbers (N,), -1: in none."""
    means, medoids = np.zeros((len(sizes), 1)), np.zeros(len(sizes), dtype=int)
    nearest = np.full(len(sizes), np.inf)
    for rows, part in evidence.parts("reduced"):
        members = np.flatnonzero(numbers[rows] >= 0)
        members = members[np.argsort(numbers[rows][members], kind="stable")]
        clusters, first = np.unique(numbers[rows][members], return_index=True)
        sums = np.zeros((len(sizes), part["reduced"].shape[1]))
        if len(clusters):
            sums[clusters] = np.add.reduceat(part["reduced"][members].astype(float), first)
        means = means + sums / np.maximum(sizes, 1)[:, None]
    for rows, part in evidence.parts("reduced"):
        members = np.flatnonzero(numbers[rows] >= 0)
        own = numbers[rows][members]
        distance = np.linalg.norm(part["reduced"][members] - means[own], axis=1)
        order = np.lexsort([distance, own])
        clusters, first = np.unique(own[order], return_index=True)
        best = order[first]
        closer = distance[best] < nearest[clusters]
        clusters, best = clusters[closer], best[closer]
        nearest[clusters], medoids[clusters] = distance[best], rows.start + members[best]
    return medoids
