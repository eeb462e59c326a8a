"""Rows of several calls in one table: each has the promise of its own, and clusters go on."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clusterkit.formats.assignment_record import (
    AssignmentRecord,
    BatchRecord,
    GrowthRecord,
    TransductionRecord,
)
from clusterkit.inference.promise_text import transduction_remarks
from clusterkit.inference.rows import whole_numbers


@dataclass(frozen=True)
class ContinuedRows:
    """Rows of an input, those of before as they were.

    Attributes
    ----------
    table : DataFrame (N)
    kept : (N,) bool
        Which are of before.
    growth : GrowthRecord
    earlier : AssignmentRecord
        Of those.
    total : int
        How many rows it is about.
    shown : str
        `clusters_fingerprint` of those, which reviews may name.
    """

    table: pd.DataFrame
    kept: np.ndarray
    growth: GrowthRecord
    earlier: AssignmentRecord
    total: int
    shown: str

    def described(self, record: AssignmentRecord) -> AssignmentRecord:
        """Return a record of these rows, which says which of them each promise is about.

        Parameters
        ----------
        record : AssignmentRecord
            Of the table, as if all had been decided now.
        """
        left = self._left()
        batches = _with_rows(left)
        if self.kept.all():
            record = self._as_decided(record, batches[-1], gone=not left[-1].images)
        elif batches:
            new = self.table["image"][~self.kept]
            batches.append(_batch_of(record, new.unique().tolist(), len(new)))
        told = len(batches) > 1 or any(batch.clusters for batch in batches)
        return replace(record, growth=self.growth, batches=batches if told else [])

    def _as_decided(
        self, record: AssignmentRecord, last: BatchRecord, gone: bool
    ) -> AssignmentRecord:
        """Return a record that says of its rows what was said when they were decided.

        `last` has those that were decided last, of which all later ones may be `gone`: what was
        said of these is said of no row any more.
        """
        shares, transduction = self.earlier.class_shares, self.earlier.transduction
        if gone:
            shares, transduction = replace(shares, estimated={}), TransductionRecord()
        record = replace(
            record,
            promise=last.promise,
            promise_text=last.promise_text,
            class_shares=shares,
            transduction=transduction,
            remarks=[*record.remarks, *transduction_remarks(transduction)],
        )
        if last.promise is not None and last.promise.threshold is None:
            return record
        return replace(record, ladder=[], certify_answers=None)

    def _left(self) -> list[BatchRecord]:
        """Return the batches of before with the rows of theirs that are kept."""
        images = self.table["image"][self.kept]
        batches = self.earlier.batches or [_batch_of(self.earlier, [], self.total)]
        own = [images[images.isin(batch.names)] for batch in batches]
        # The first is about all that no other names.
        others = len(images) - sum(map(len, own))
        counts = [len(names) + others * (not i) for i, names in enumerate(own)]
        left = [
            replace(batch, names=names.unique().tolist(), images=count)
            for batch, names, count in zip(batches, own, counts, strict=True)
        ]
        if self.growth.gone or not self.kept.all():
            clusters = list(dict.fromkeys([*left[-1].clusters, self.shown]))
            left[-1] = replace(left[-1], clusters=clusters)
        return left


def _with_rows(batches: list[BatchRecord]) -> list[BatchRecord]:
    """Leave out batches without rows; what their tables showed of others is the one's before."""
    found: list[BatchRecord] = []
    for batch in batches:
        if batch.images:
            found.append(batch)
        elif found:
            found[-1] = replace(found[-1], clusters=[*found[-1].clusters, *batch.clusters])
    return found


def _batch_of(record: AssignmentRecord, names: list[str], images: int) -> BatchRecord:
    return BatchRecord(
        images=images,
        names=names,
        promise=record.promise,
        promise_text=record.promise_text,
        fingerprint=record.fingerprint,
    )


def continued_clusters(
    numbers: np.ndarray, kept: np.ndarray, before: pd.Series
) -> pd.arrays.IntegerArray:
    """Return the cluster of each row (N,): the earlier one (n,) of those kept, else as it goes on.

    Parameters
    ----------
    numbers : (N,) int
        Clusters as they would be without those of before; -1: none.
    kept : (N,) bool
    before : (n,) Int64
        Of the rows that are kept.
    """
    old = np.full(len(numbers), -1)
    old[kept] = before.to_numpy(dtype=int, na_value=-1)
    both = kept & (numbers >= 0) & (old >= 0)
    counts = pd.Series(1, index=[numbers[both], old[both]]).groupby(level=[0, 1]).size()
    # The earlier cluster that most of the others are in; of equals, the first.
    best = counts.sort_values(ascending=False, kind="stable").reset_index(level=1)
    name_of = best[~best.index.duplicated()]["level_1"].to_dict()
    following = old.max(initial=-1) + 1
    for number in np.unique(numbers[~kept & (numbers >= 0)]):
        if number not in name_of:
            name_of[number], following = following, following + 1
    joined = np.array([name_of.get(n, -1) for n in numbers.tolist()], dtype=int)
    old = np.where(kept, old, joined)
    return whole_numbers(old, old >= 0)


def continued_order(
    numbers: np.ndarray, kept: np.ndarray, before: pd.Series
) -> pd.arrays.IntegerArray:
    """Return the order of each row (N,): the earlier one of those kept, then that of the others."""
    old = np.full(len(numbers), -1)
    old[kept] = before.to_numpy(dtype=int, na_value=-1)
    asked = np.flatnonzero(~kept & (numbers > 0))
    old[asked[np.argsort(numbers[asked])]] = old.max(initial=0) + 1 + np.arange(len(asked))
    return whole_numbers(old, old >= 0)
