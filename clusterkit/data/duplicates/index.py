"""Index of near duplicates: copies that are turned, mirrored, resized or compressed anew.

Candidates come from an inverted file over descriptors that no turn changes, so that time grows
as N √N. Every pair that is returned has been verified by its signatures' score.
"""

from dataclasses import dataclass

import numpy as np

from clusterkit.data.duplicates.signature import invariants, pair_scores, threshold
from clusterkit.progress import StageProgress
from clusterkit.threads import one_thread

# Closest descriptors that are verified, and cells of the inverted file that are looked into: 8
# cells lose 2% of the pairs among 16,500 drawn pictures, 16 half a percent; more candidates find
# no more.
_CANDIDATES, _PROBES = 12, 20
_DIMENSIONS = 64
# Fewer images than this are one cell: the search is then complete.
ONE_CELL = 3000
_SAMPLE = 20_000
_BLOCK = 1024


@dataclass(frozen=True)
class NearPairs:
    """Verified near duplicates, each pair once.

    Attributes
    ----------
    first, second : (P,) int
        Rows, ``first < second``, in rising order.
    score : (P,) float in [SAME, 1]
        Rises with likeness.
    """

    first: np.ndarray
    second: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def match(
    signatures: np.ndarray, others: np.ndarray, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Best verified near duplicate of each image among others.

    Parameters
    ----------
    signatures : (B, SIGNATURE) int8
    others : (N, SIGNATURE) int8
    exclude_self : bool
        `others` are the same images in the same order, and none may match itself.

    Returns
    -------
    index : (B,) int
        Row of `others`, or -1 where nothing reaches the `threshold` for N² / 2 comparisons.
    score : (B,) float32 in [0, 1]
        Of that pair; 0 where there is none.
    """
    return NearIndex(others).match(signatures, exclude_self)


class NearIndex:
    """Index of images that others are matched with, prepared once; see `match`.

    Parameters
    ----------
    others : (N, SIGNATURE) int8
    """

    def __init__(self, others: np.ndarray) -> None:
        self._others = others
        self._cells = _Cells(others) if others.any() else None

    def match(
        self, signatures: np.ndarray, exclude_self: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Index (B,) int and score (B,) float32 as of `match`."""
        index = np.full(len(signatures), -1)
        best = np.zeros(len(signatures), dtype=np.float32)
        # A zero signature matches nothing.
        if self._cells is None or not signatures.any():
            return index, best
        rows, columns = self._cells.nearest(signatures, exclude_self)
        scores = pair_scores(signatures, self._others, rows, columns)
        # Independent of the number of queries: batches of another size must match the same.
        kept = scores >= threshold(len(self._others) ** 2 / 2)
        rows, columns, scores = rows[kept], columns[kept], scores[kept]
        # The lowest row wins among equals; written last, it stays.
        order = np.lexsort([-columns, scores])
        index[rows[order]] = columns[order]
        best[rows[order]] = scores[order]
        return index, best


def near_pairs(signatures: np.ndarray, progress: StageProgress | None = None) -> NearPairs:
    """Near duplicates within a set.

    Each image is verified against the 12 others whose descriptors are closest: of an image with
    more copies than that not every pair is listed. Images of the very same signature are
    searched for once and listed in a chain. It takes about N √N steps; memory grows with N only
    by the descriptors.

    Parameters
    ----------
    signatures : (N, SIGNATURE) int8
    progress : callable (done, total), optional
        In images.

    Returns
    -------
    NearPairs
        Each reaches the `threshold` for N² / 2 comparisons.
    """
    empty = np.zeros(0, dtype=int)
    if len(signatures) < 2 or not signatures.any():
        return NearPairs(empty, empty, empty.astype(np.float32))
    kept, leader = _distinct(signatures)
    distinct = signatures[kept]

    def in_images(done: int, total: int) -> None:
        # Each distinct signature stands for all images that share it.
        if progress is not None:
            progress(done * len(signatures) // total, len(signatures))

    rows, columns = _Cells(distinct).nearest(distinct, True, in_images)
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    low, high = np.divmod(np.unique(low * len(distinct) + high), len(distinct))
    scores = pair_scores(distinct, distinct, low, high)
    good = scores >= threshold(len(distinct) ** 2 / 2)
    # The next image of the same signature, for all but the last of each.
    same = np.argsort(leader, kind="stable")
    chained = (leader[same][1:] == leader[same][:-1]) & (leader[same][1:] >= 0)
    first = np.r_[kept[low[good]], same[:-1][chained]]
    second = np.r_[kept[high[good]], same[1:][chained]]
    scores = np.r_[scores[good], np.ones(chained.sum(), dtype=np.float32)]
    order = np.lexsort([second, first])
    return NearPairs(first[order], second[order], scores[order])


def _distinct(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First rows of distinct signatures (U,), and the first row of each (N,), -1: zero."""
    seen: dict[bytes, int] = {}
    leader = np.full(len(signatures), -1)
    for row in np.flatnonzero(signatures.any(axis=1)):
        leader[row] = seen.setdefault(signatures[row].tobytes(), int(row))
    return np.array(list(seen.values()), dtype=int), leader


class _Cells:
    """Inverted file: descriptors by the cell whose centre is nearest.

    Jégou, Douze and Schmid, Product quantization for nearest neighbor search (2011), section
    IV, without the quantization.
    """

    def __init__(self, signatures: np.ndarray) -> None:
        n = len(signatures)
        rng = np.random.default_rng(0)
        sample = np.sort(rng.choice(n, min(n, _SAMPLE), replace=False))
        described = invariants(signatures[sample])
        self._mean = described.mean(axis=0)
        with one_thread():
            _, axes = np.linalg.eigh(np.cov(described - self._mean, rowvar=False, bias=True))
        self._axes = np.ascontiguousarray(axes[:, ::-1][:, :_DIMENSIONS], dtype=np.float32)
        self._points = self._describe(signatures)
        self._centres = self._points.mean(axis=0, keepdims=True)
        if n > ONE_CELL:
            # Few runs have so many labelled images; the others need not wait for the import.
            from sklearn.cluster import MiniBatchKMeans

            means = MiniBatchKMeans(round(n**0.5), batch_size=4096, n_init=1, max_iter=20,
                                    random_state=0)  # fmt: skip
            self._centres = means.fit(self._points[sample]).cluster_centers_
        cell = np.concatenate([
            _far(self._points[start : start + _BLOCK], self._centres).argmin(axis=1)
            for start in range(0, n, _BLOCK)
        ])  # fmt: skip
        self._order = np.argsort(cell, kind="stable")
        self._starts = np.searchsorted(cell[self._order], np.arange(len(self._centres) + 1))

    def nearest(
        self, signatures: np.ndarray, exclude_self: bool, progress: StageProgress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidate pairs (rows of the query, rows of this file), (P,) each."""
        same = exclude_self and len(signatures) == len(self._points)
        queries = self._points if same else self._describe(signatures)
        shape = (len(queries), _CANDIDATES)
        closest, far = np.full(shape, -1), np.full(shape, np.inf, dtype=np.float32)
        probed = self._probes(queries)
        for count, (cell, rows) in enumerate(probed):
            members = self._order[self._starts[cell] : self._starts[cell + 1]]
            for start in range(0, len(rows), _BLOCK):
                part = rows[start : start + _BLOCK]
                self._merge(queries, part, members, exclude_self, closest, far)
            if progress is not None:
                progress((count + 1) * len(queries) // len(probed), len(queries))
        rows, places = np.nonzero(closest >= 0)
        return rows, closest[rows, places]

    def _describe(self, signatures: np.ndarray) -> np.ndarray:
        """Descriptors (N, D) along the principal axes."""
        parts = [
            (invariants(signatures[start : start + _BLOCK]) - self._mean) @ self._axes
            for start in range(0, len(signatures), _BLOCK)
        ]
        return np.concatenate(parts)

    def _probes(self, queries: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Cells with the queries that look into them."""
        count = min(_PROBES, len(self._centres))
        cells = np.concatenate([
            np.argpartition(_far(queries[start : start + _BLOCK], self._centres), count - 1, axis=1)
            [:, :count]
            for start in range(0, len(queries), _BLOCK)
        ]).ravel()  # fmt: skip
        order = np.argsort(cells, kind="stable")
        starts = np.searchsorted(cells[order], np.arange(len(self._centres) + 1))
        return [
            (cell, order[starts[cell] : starts[cell + 1]] // count)
            for cell in range(len(self._centres))
            if starts[cell] < starts[cell + 1]
        ]

    def _merge(
        self,
        queries: np.ndarray,
        rows: np.ndarray,
        members: np.ndarray,
        exclude_self: bool,
        closest: np.ndarray,
        far: np.ndarray,
    ) -> None:
        """Update the closest candidates of queries (B,) by the members of one cell, in place."""
        for start in range(0, len(members), 8 * _BLOCK):
            some = members[start : start + 8 * _BLOCK]
            distance = _far(queries[rows], self._points[some])
            if exclude_self:
                distance[rows[:, None] == some[None, :]] = np.inf
            every = np.concatenate([far[rows], distance], axis=1)
            index = np.concatenate(
                [closest[rows], np.broadcast_to(some, (len(rows), len(some)))], axis=1
            )
            best = np.argpartition(every, _CANDIDATES - 1, axis=1)[:, :_CANDIDATES]
            far[rows] = np.take_along_axis(every, best, axis=1)
            index = np.take_along_axis(index, best, axis=1)
            closest[rows] = np.where(np.isfinite(far[rows]), index, -1)


def _far(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (B, N), less the points' own squared length.

    That is the same for all others of a point and changes no order.
    """
    return (others**2).sum(axis=1) - 2 * (points @ others.T)
