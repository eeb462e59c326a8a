"""The assignments that a page is about: read, checked against the run, and chosen from."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.auditing.page import Cluster, Tile
from clusterkit.data.files import ImageFolder
from clusterkit.data.frames import names_of
from clusterkit.data.remote_places import Place
from clusterkit.data.written_names import folder_of_record
from clusterkit.errors import DataError
from clusterkit.formats.assignment_pair import check_pair
from clusterkit.formats.assignment_record import AssignmentRecord, PromiseRecord, share
from clusterkit.formats.assignments import (
    STATUSES,
    input_link_roots,
    input_root,
    read_assignments,
    read_record,
)
from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.known_images import open_members
from clusterkit.formats.promise_cover import promise_words, record_of_image
from clusterkit.formats.run import Run

log = logging.getLogger("clusterkit")

# Shares of the cards that are taken by rank, and of those that show a cluster's typical image.
_RANKED, _TYPICAL = 0.75, 0.25
# What is said of the members of a cluster.
_OF_MEMBERS = ["image", "image_id", "status", "cluster", "predicted_label"]
# Share up to which refused images go before all others.
_REFUSED = 0.6


@dataclass(frozen=True)
class AuditBatch:
    """Assignments that `assign` wrote, and their record.

    Attributes
    ----------
    csv : Path
    table : DataFrame
        Its rows.
    record : AssignmentRecord
        `assignments.json`; an empty record where it is missing.
    root : path or RemoteLocation
        Where its images were.
    key : str
        16 hex digits that name these rows of this run.
    notes : list of str
        Sentences about the table that a reader of the page should know.
    link_roots : tuple of Path
        Where else links among its images may lead.
    """

    csv: Path
    table: pd.DataFrame
    record: AssignmentRecord
    root: Place
    key: str
    notes: list[str] = field(default_factory=list)
    link_roots: tuple[Path, ...] = ()

    @property
    def inputs(self) -> ImageFolder:
        """Where its images were."""
        return ImageFolder(self.root, self.link_roots)

    @property
    def promise(self) -> str:
        """The promise in words, with the rows that it is about."""
        text = promise_words(self.record)
        return "There is no record of what was promised." if text is None else text

    def of_image(self, image: str) -> "AuditBatch":
        """Return these assignments with the promise that was made of one image."""
        return replace(self, record=record_of_image(self.record, image))

    @property
    def certificate(self) -> CertificateRecord | None:
        """What `certify` found; None: nobody has checked the labels."""
        return self.record.certificate

    @property
    def certificate_page(self) -> Path | None:
        """The certificate to be printed; None: there is none."""
        folder = "" if self.certificate is None else self.certificate.folder
        # A record may be anybody's: no other place is led to.
        if not folder or Path(folder).is_absolute() or not folder.isprintable():
            return None
        page = folder_of_record(folder, self.csv.absolute().parent) / "certificate.html"
        return page if page.is_file() else None

    @property
    def threshold(self) -> float | None:
        """The confidence from which on labels were assigned; None: there is no record of it."""
        return share(self._promise.threshold)

    @property
    def max_error(self) -> float | None:
        """The promised error."""
        return share(self._promise.max_error)

    @property
    def unit(self) -> str:
        """Unit of the promise: group or image."""
        return self._promise.unit or "image"

    def shares(self, classes: list[str]) -> np.ndarray | None:
        """Return the estimated share (K,) of each class; None: there is no record of it."""
        estimated = self.record.class_shares.estimated
        values = [estimated.get(c, -1.0) for c in classes]
        return np.array(values) if all(0 <= v <= 1 for v in values) else None

    @property
    def _promise(self) -> PromiseRecord:
        return self.record.promise or PromiseRecord()


def read_batch(
    run: Run, csv: Path, columns: Sequence[str] | None = None, paired: bool = True
) -> AuditBatch:
    """Read assignments and check that they are of this run.

    Parameters
    ----------
    run : Run
    csv : Path
        The `assignments.csv`; its record, a JSON, is looked for beside it.
    columns : sequence of str or None
        See `read_assignments`.
    paired : bool
        The table and its record have to be of one call, see `check_pair`.

    Raises
    ------
    DataError
        The file is missing or damaged, or another run or data set made it.
    """
    table, record = read_assignments(csv, columns), read_record(csv)
    if paired:
        check_pair(csv, table, record)
    _check_run(run, csv, table, record)
    notes = _edits(run, table, record)
    for note in notes:
        log.warning("%s: %s", csv.name, note)
    with csv.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(str(run.info.id).encode())
    root, link_roots = input_root(csv, record), input_link_roots(csv, record)
    return AuditBatch(csv, table, record, root, digest.hexdigest()[:16], notes, link_roots)


def _check_run(run: Run, csv: Path, table: pd.DataFrame, record: AssignmentRecord) -> None:
    made_by = record.run
    if made_by is not None and made_by != run.info.id:
        raise DataError(
            f"{csv} was made by the run with id {str(made_by)[:40]!r}, and {run.path} has id "
            f"{run.info.id!r}; give the run that made it, or run `clusterkit assign` again"
        )
    nearest = set(table["nearest_image"].unique()) - {""}
    if nearest and not nearest & set(names_of(run.manifest)):
        raise DataError(
            f"{csv} names labelled images, e.g. '{min(nearest)[:80]}', of which none is in "
            f"{run.path}: it is about another data set; give its run with --run"
        )


def _edits(run: Run, table: pd.DataFrame, record: AssignmentRecord) -> list[str]:
    """Return notes on what was changed by hand since `assign`, as far as it shows."""
    notes = []
    written = record.images
    if written is not None and written != len(table):
        notes.append(
            f"The table has {len(table):,} rows and assign wrote {written:,}: rows were removed or "
            "added since. The promise was made for all of them."
        )
    # A person may have answered with a label that the run has not learned.
    labels = table["predicted_label"][table["status"] != "reviewed"]
    foreign = sorted(set(labels.unique()) - set(run.classes) - {""})
    if foreign:
        names = ", ".join(f"'{name[:40]}'" for name in foreign[:3])
        rows = int(labels.isin(foreign).sum())
        notes.append(
            f"{rows:,} rows have a label that the run has not learned ({names}): somebody wrote "
            "it. There is no heat map for it. Corrections belong in reviews.csv."
        )
    return notes


def choose_rows(
    table: pd.DataFrame, limit: int, seed: int, typical: Sequence[int] = ()
) -> np.ndarray:
    """Choose at most `limit` rows: refused ones first, every status, a part by chance.

    The refused come in the order of questions; the others, and refused ones without a place in
    it, with the least confident first.

    Parameters
    ----------
    table : DataFrame
        Columns status, confidence; order, if it is there.
    limit : int
    seed : int
    typical : sequence of int
        Positions to take before all others, up to a quarter of the rows.

    Returns
    -------
    (n,) int, sorted positions in `table`.
    """
    if len(table) <= limit:
        return np.arange(len(table))
    rng = np.random.default_rng(seed)
    taken = list(dict.fromkeys(typical))[: int(limit * _TYPICAL)]
    refused = np.setdiff1d(np.flatnonzero(table["status"].isin(["review", "novel"])), taken)
    taken += _in_order(table, refused)[: max(0, int(limit * _REFUSED) - len(taken))]
    queues, free = [], np.ones(len(table), dtype=bool)
    free[taken] = False
    for status in STATUSES:
        rows = np.flatnonzero((table["status"] == status).to_numpy() & free)
        queues.append(_in_order(table, rows))
    while len(taken) < max(1, int(limit * _RANKED)) and any(queues):
        for queue in queues:
            if queue and len(taken) < limit:
                taken.append(queue.pop(0))
    rest = np.setdiff1d(np.arange(len(table)), taken)
    by_chance = rng.choice(rest, limit - len(taken), replace=False)
    return np.sort(np.r_[np.array(taken, dtype=int), by_chance])


def _in_order(table: pd.DataFrame, rows: np.ndarray) -> list[int]:
    """Sort rows by the order of questions, and those that have none by confidence."""
    keys = ["order", "confidence"] if "order" in table else ["confidence"]
    part = table[keys].iloc[rows].reset_index(drop=True)
    return [int(rows[i]) for i in part.sort_values(keys, kind="stable").index]


def clusters_of(
    batch: AuditBatch, chosen: np.ndarray, tiles: Mapping[int, list[Tile]] | None = None
) -> list[Cluster]:
    """Describe the clusters of the whole batch, the largest first.

    Of one of which images have a label since, those that still need a person; of one of which all
    have, nothing.

    Parameters
    ----------
    batch : AuditBatch
    chosen : (n,) int
        Positions of the rows that have a card.
    tiles : dict or None
        Those of the other members, by the number of their cluster.
    """
    table = open_members(batch.table[_OF_MEMBERS])
    shown = table["cluster"][table.index.isin(batch.table.index[chosen])].value_counts()
    sizes = batch.table["cluster"].value_counts()
    # A record may be edited, and be of before the table was.
    medoids = {found.cluster: found.medoid_id for found in batch.record.cluster_summaries}
    out = []
    for number in sorted(int(value) for value in table["cluster"].unique()):
        members = table[table["cluster"] == number]
        same = members[members["image_id"] == str(medoids.get(number))]
        medoid = (same if len(same) else members).iloc[0]
        labels = members["predicted_label"][members["predicted_label"] != ""].value_counts()
        counted = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
        out.append(
            Cluster(
                cluster=number,
                size=len(members),
                labelled=int(sizes[number]) - len(members),
                shown=int(shown.get(number, 0)),
                novel=int((members["status"] == "novel").sum()),
                medoid=medoid["image"],
                medoid_id=medoid["image_id"],
                labels={str(label): int(count) for label, count in counted},
                tiles=(tiles or {}).get(number, []),
            )
        )
    return sorted(out, key=lambda c: (-c.size, c.cluster))


def typical_rows(batch: AuditBatch) -> tuple[int, ...]:
    """Return the positions of the most typical image of each cluster of two or more."""
    ids = batch.table["image_id"]
    medoids = [c.medoid_id for c in clusters_of(batch, np.arange(0)) if c.size > 1]
    rows = np.flatnonzero(ids.isin(medoids).to_numpy(dtype=bool))
    first = dict(zip(reversed(ids.iloc[rows].tolist()), reversed(rows.tolist()), strict=True))
    return tuple(first[identity] for identity in medoids if identity in first)
