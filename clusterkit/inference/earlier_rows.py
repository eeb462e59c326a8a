"""Rows of before: an image that is there again, byte by byte, keeps what was said of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError
from clusterkit.formats.assignment_record import (
    AssignmentRecord,
    BatchRecord,
    GrowthRecord,
    TransductionRecord,
)
from clusterkit.formats.assignments import COLUMNS, read_assignments, read_record
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.run import Run
from clusterkit.inference.batch_record import settings_of
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.promise_text import transduction_remarks
from clusterkit.inference.rows import whole_numbers

# What is told of an image, not decided about it.
_TOLD = ("image", "image_id", "group")


def why_anew(out: Path, run: Run, config: Config) -> str | None:
    """Return why no row that is there stays, in words; "": they do, None: there are none.

    Those stay that were decided by this run under these settings, and that nobody has touched
    since: a certificate is of the whole table, and a label that another program has written there
    is none that was promised.

    Parameters
    ----------
    out : Path
        The CSV.
    run : Run
    config : Config
    """
    if not out.is_file() or not out.stat().st_size:
        return None
    if not out.with_suffix(".json").is_file():
        return f"{out.with_suffix('.json').name}, which says how they were decided, is not there"
    try:
        record = read_record(out)
    except DataError:
        return f"{out.with_suffix('.json').name}, which says how they were decided, is damaged"
    if record.run != run.info.id:
        return "another run had decided them"
    now = settings_of(config)
    others = [name for name, value in now.items() if record.settings.get(name, ...) != value]
    if others:
        said = f"{others[0]} = {now[others[0]]} for {record.settings.get(others[0])}"
        return f"they were decided by other settings ({said})"
    if record.certificate is not None:
        return "a certificate was about all of them"
    if sha256_of(out) != record.table:
        return f"somebody, or another program, has saved {out.name} since"
    return ""


@dataclass(frozen=True)
class EarlierRows:
    """Assignments that are there already, whose rows stay as they are.

    Attributes
    ----------
    path : Path
        The CSV. Of a million rows it takes much memory, so it is read when it is needed.
    record : AssignmentRecord
    """

    path: Path
    record: AssignmentRecord

    @classmethod
    def of(cls, out: Path) -> "EarlierRows":
        """Return the assignments that a CSV holds, of which `why_anew` has no doubt."""
        return cls(out, read_record(out))

    def found(self, images: pd.Series, evidence: Evidence) -> np.ndarray:
        """Return which earlier row (N,) is of the same bytes, read or failed alike; -1: none.

        Parameters
        ----------
        images : (N,) str
        evidence : Evidence (N)
        """
        before = read_assignments(self.path, ("image", "image_id", "status", "reason"))
        why = before["reason"].where(before["status"] == "failed", "")
        keys = pd.MultiIndex.from_arrays([before["image"], before["image_id"], why])
        rows = pd.Series(np.arange(len(before)), index=keys)
        rows, found = rows[~keys.duplicated()], np.full(len(images), -1)
        for part_rows, part in evidence.parts("ids", "errors"):
            now = pd.MultiIndex.from_arrays([images.iloc[part_rows], part["ids"], part["errors"]])
            found[part_rows] = rows.reindex(now).fillna(-1)
        return found

    def continued_by(self, table: pd.DataFrame, found: np.ndarray) -> "ContinuedRows":
        """Put the rows of before into a table (N) of now, in their places.

        Refused images go on where the earlier ones end: one that falls into a cluster of theirs
        has its number, and new clusters and questions follow.

        Parameters
        ----------
        table : DataFrame (N)
        found : (N,) int
            See `found`.
        """
        before = read_assignments(self.path)
        shown = clusters_fingerprint(before)
        kept, known = found >= 0, table["image"].isin(before["image"])
        growth = GrowthRecord(
            kept=int(kept.sum()),
            new=int((~known).sum()),
            changed=int((known & ~kept).sum()),
            gone=int((~before["image"].isin(table["image"])).sum()),
        )
        rows = found[kept]
        table["cluster"] = _continued_clusters(table["cluster"], kept, before["cluster"][rows])
        table["order"] = _continued_order(table["order"], kept, before["order"][rows])
        # A column after the other: of a million rows, twice all is much memory.
        for column in [c for c in COLUMNS if c not in (*_TOLD, "cluster", "order")]:
            values = table[column].to_numpy(copy=True)
            values[kept] = before[column].to_numpy()[rows]
            table[column] = values
        return ContinuedRows(table, kept, growth, self.record, len(before), shown)


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
        batches = _joined(left)
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


def _joined(batches: list[BatchRecord]) -> list[BatchRecord]:
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


def _continued_clusters(
    new: pd.Series, kept: np.ndarray, before: pd.Series
) -> pd.arrays.IntegerArray:
    """Return the cluster of each row (N,): the earlier one (n,) of those kept, else as it goes on.

    Parameters
    ----------
    new : (N,) Int64
        Clusters as they would be without those of before.
    kept : (N,) bool
    before : (n,) Int64
        Of the rows that are kept.
    """
    numbers = new.to_numpy(dtype=int, na_value=-1)
    old = np.full(len(new), -1)
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


def _continued_order(new: pd.Series, kept: np.ndarray, before: pd.Series) -> pd.arrays.IntegerArray:
    """Return the order of each row (N,): the earlier one of those kept, then that of the others."""
    numbers = new.to_numpy(dtype=int, na_value=-1)
    old = np.full(len(new), -1)
    old[kept] = before.to_numpy(dtype=int, na_value=-1)
    asked = np.flatnonzero(~kept & (numbers > 0))
    old[asked[np.argsort(numbers[asked])]] = old.max(initial=0) + 1 + np.arange(len(asked))
    return whole_numbers(old, old >= 0)
