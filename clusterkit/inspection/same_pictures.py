"""Files that show the same picture: by their bytes, and by their appearance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.data.duplicates.grouping import near_groups
from clusterkit.data.duplicates.index import near_pairs
from clusterkit.inspection.scan import Scan
from clusterkit.progress import Progress, within


@dataclass(frozen=True)
class SamePictures:
    """Positions in a scan of N images, each list sorted.

    Attributes
    ----------
    exact : list of list of int
        Files with the same bytes.
    near : list of (rows, scores)
        Images that look almost the same, exact copies of them among them, but not the frames of
        one file alone; and the likeness of each to its most similar one, in [0, 1].
    pictures : list of list of int
        Pictures that are there more than once, by bytes or by appearance.
    """

    exact: list[list[int]]
    near: list[tuple[list[int], list[float]]]
    pictures: list[list[int]]


def find_same(scan: Scan, progress: Progress | None = None) -> SamePictures:
    """Group the images of a scan that show the same picture.

    Parameters
    ----------
    scan : Scan
    progress : callable or None
        Called with ("duplicates", done, total).
    """
    ids, paths = scan.rows["image_id"].to_numpy(), scan.rows["path"].to_numpy()
    readable = np.flatnonzero(ids != "")
    copies = _groups(readable, pd.factorize(ids[readable])[0])
    of = {rows[0]: rows for rows in copies}
    near = []
    for rows, scores in _near(np.array(sorted(of), dtype=int), scan.signatures, progress):
        full = sorted((copy, score) for row, score in zip(rows, scores, strict=True)
                      for copy in of[row])  # fmt: skip
        # The frames of one film resemble each other; that is no finding.
        if len({paths[row] for row, _ in full}) > 1:
            near.append(([row for row, _ in full], [score for _, score in full]))
    exact = [rows for rows in copies if len(rows) > 1]
    inside = {row for rows, _ in near for row in rows}
    pictures = [rows for rows, _ in near] + [r for r in exact if r[0] not in inside]
    return SamePictures(sorted(exact), sorted(near), sorted(pictures))


def _groups(places: np.ndarray, number: np.ndarray) -> list[list[int]]:
    """Return the places that share a number, each list in the order given."""
    if not len(places):
        return []
    order = np.argsort(number, kind="stable")
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    return [part.tolist() for part in np.split(places[order], cuts)]


def _near(
    first: np.ndarray, signatures: np.ndarray, progress: Progress | None
) -> list[tuple[list[int], list[float]]]:
    """Return groups of near duplicates among images that differ in their bytes."""
    own = signatures[first]
    pairs = near_pairs(own, within(progress, "duplicates") if progress else None)
    group = near_groups(len(first), pairs, own)
    best = np.zeros(len(first))
    together = (group[pairs.first] == group[pairs.second]) & (group[pairs.first] >= 0)
    for side in (pairs.first, pairs.second):
        np.maximum.at(best, side[together], pairs.score[together])
    members = np.flatnonzero(group >= 0)
    return [(first[rows].tolist(), best[rows].clip(0, 1).tolist())
            for rows in _groups(members, group[members])]  # fmt: skip
