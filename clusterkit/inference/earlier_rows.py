"""Rows of before: an image that is there again, byte by byte, keeps what was said of it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from clusterkit.formats.assignments import COLUMNS, read_assignments, read_parts, read_record
from clusterkit.formats.run import Run
from clusterkit.inference.batch_record import settings_of
from clusterkit.inference.decisions import Decisions
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.promise_text import transduction_remarks
from clusterkit.inference.rows import group_names, whole_numbers

# Of a digest; two of a billion rows have the same once in 10 ** 20 times.
_BYTES = 16


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

    def found(self, images: pd.Series, evidence: Evidence) -> "FoundRows":
        """Return which earlier row is of the same bytes as each image, read or failed alike.

        Parameters
        ----------
        images : (N,) str
        evidence : Evidence (N)
        """
        names, keys = [], []
        for part in read_parts(self.path, ("image", "image_id", "status", "reason")):
            why = part["reason"].where(part["status"] == "failed", "")
            names.append(_digests(part["image"]))
            keys.append(_digests(part["image"], part["image_id"], why))
        now = [
            _digests(images.iloc[rows], part["ids"], part["errors"])
            for rows, part in evidence.parts("ids", "errors")
        ]
        named, found = _digests(images), _first_places(_joined(keys), _joined(now))
        kept, before = found >= 0, _joined(names)
        known = np.isin(named, before)
        growth = GrowthRecord(
            kept=int(kept.sum()),
            new=int((~known).sum()),
            changed=int((known & ~kept).sum()),
            gone=int((~np.isin(before, named)).sum()),
        )
        return FoundRows(found, growth)

    def continued_by(
        self, new: pd.DataFrame, inputs: pd.DataFrame, decided: Decisions, found: "FoundRows"
    ) -> "ContinuedRows":
        """Join the rows of before and new ones, as an input has their images.

        Refused images go on where the earlier ones end: one that falls into a cluster of theirs
        has its number, and new clusters and questions follow.

        Parameters
        ----------
        new : DataFrame (M)
            Rows of the images that were not there; used up.
        inputs : DataFrame (N)
        decided : Decisions (N)
            On all, as if none had been there.
        found : FoundRows (N)
        """
        before = read_assignments(self.path)
        total, kept, rows = len(before), found.kept, found.rows[found.kept]
        place = np.where(kept, found.rows, 0)
        place[~kept] = total + np.arange(len(new))
        columns: dict[str, Any] = {
            "cluster": _continued_clusters(decided.cluster, kept, before["cluster"].iloc[rows]),
            "order": _continued_order(decided.order, kept, before["order"].iloc[rows]),
        }
        # A column after the other: of a million rows, twice all is much memory.
        for name in [c for c in COLUMNS if c not in (*columns, "group")]:
            both = pd.concat([before.pop(name), new.pop(name)], ignore_index=True)
            columns[name] = both.take(place).array
        columns["group"] = group_names(inputs)
        elements = [str(name) for name in new if name not in COLUMNS]
        columns |= {name: inputs[name].to_numpy() for name in elements}
        names = [*COLUMNS, *elements]
        table = pd.DataFrame({name: columns.pop(name) for name in names})
        return ContinuedRows(table, kept, found.growth, self.record, total)


@dataclass(frozen=True)
class FoundRows:
    """Where images of an input are in an earlier table.

    Attributes
    ----------
    rows : (N,) int
        The row of each; -1: in none.
    growth : GrowthRecord
    """

    rows: np.ndarray
    growth: GrowthRecord

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool: these have a row."""
        return self.rows >= 0


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
    """

    table: pd.DataFrame
    kept: np.ndarray
    growth: GrowthRecord
    earlier: AssignmentRecord
    total: int

    def described(self, record: AssignmentRecord) -> AssignmentRecord:
        """Return a record of these rows, which says which of them each promise is about.

        Parameters
        ----------
        record : AssignmentRecord
            Of the table, as if all had been decided now.
        """
        images, left = self.table["image"], self._left()
        batches = [batch for batch in left if batch.images]
        if self.kept.all():
            record = self._as_decided(record, batches[-1], gone=not left[-1].images)
        elif batches:
            new = images[~self.kept]
            batches.append(_batch_of(record, new.unique().tolist(), len(new)))
        return replace(record, growth=self.growth, batches=batches if len(batches) > 1 else [])

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
        return [
            replace(batch, names=names.unique().tolist(), images=count)
            for batch, names, count in zip(batches, own, counts, strict=True)
        ]


def _digests(*columns: Iterable[str]) -> np.ndarray:
    """Return a digest (N,) of each row of texts: of a million they take a tenth of the memory."""
    texts = ("\0".join(row).encode(errors="surrogatepass") for row in zip(*columns, strict=True))
    found = [hashlib.blake2b(text, digest_size=_BYTES).digest() for text in texts]
    return np.array(found, dtype=f"S{_BYTES}")


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=f"S{_BYTES}")


def _first_places(among: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where (N,) each of the wanted is first among others (P,); -1: nowhere."""
    if not len(among):
        return np.full(len(wanted), -1)
    order = np.argsort(among, kind="stable")
    places = np.searchsorted(among, wanted, sorter=order)
    found = order[np.minimum(places, len(among) - 1)]
    return np.where(among[found] == wanted, found, -1)


def _batch_of(record: AssignmentRecord, names: list[str], images: int) -> BatchRecord:
    return BatchRecord(
        images=images,
        names=names,
        promise=record.promise,
        promise_text=record.promise_text,
        fingerprint=record.fingerprint,
    )


def _continued_clusters(
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


def _continued_order(
    numbers: np.ndarray, kept: np.ndarray, before: pd.Series
) -> pd.arrays.IntegerArray:
    """Return the order of each row (N,): the earlier one of those kept, then that of the others."""
    old = np.full(len(numbers), -1)
    old[kept] = before.to_numpy(dtype=int, na_value=-1)
    asked = np.flatnonzero(~kept & (numbers > 0))
    old[asked[np.argsort(numbers[asked])]] = old.max(initial=0) + 1 + np.arange(len(asked))
    return whole_numbers(old, old >= 0)
