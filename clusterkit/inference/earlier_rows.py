"""Rows of before: an image that is there again, byte by byte, keeps what was said of it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError
from clusterkit.formats.assignment_record import AssignmentRecord, GrowthRecord
from clusterkit.formats.assignments import COLUMNS, read_assignments, read_parts, read_record
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.run import Run
from clusterkit.inference.batch_record import settings_of
from clusterkit.inference.continued_rows import (
    ContinuedRows,
    continued_clusters,
    continued_order,
)
from clusterkit.inference.decisions import Decisions
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.rows import group_names

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
    ) -> ContinuedRows:
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
        # What is told of an image, not decided about it.
        told = ("image", "group")
        before = read_assignments(self.path, [name for name in COLUMNS if name not in told])
        shown = clusters_fingerprint(before)
        total, kept, rows = len(before), found.kept, found.rows[found.kept]
        place = np.where(kept, found.rows, 0)
        place[~kept] = total + np.arange(len(new))
        columns: dict[str, Any] = {
            "cluster": continued_clusters(decided.cluster, kept, before["cluster"].iloc[rows]),
            "order": continued_order(decided.order, kept, before["order"].iloc[rows]),
        }
        # A column after the other: of a million rows, twice all is much memory.
        for name in [c for c in COLUMNS if c not in (*columns, *told)]:
            both = pd.concat([before.pop(name), new.pop(name)], ignore_index=True)
            columns[name] = both.take(place).array
        columns |= {"image": inputs["image"].to_numpy(), "group": group_names(inputs)}
        elements = [str(name) for name in new if name not in COLUMNS]
        columns |= {name: inputs[name].to_numpy() for name in elements}
        names = [*COLUMNS, *elements]
        table = pd.DataFrame({name: columns.pop(name) for name in names})
        return ContinuedRows(table, kept, found.growth, self.record, total, shown)


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
