"""The images and clusters that reviews may name: those of the assignments they are about."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.data.identity import is_number
from clusterkit.data.remote_places import Place
from clusterkit.errors import DataError, shown
from clusterkit.formats.assignment_record import BatchRecord

# Statuses of an image that has a label of its own.
SETTLED = ("assigned", "reviewed")
# After the fingerprint in rows about the members of a cluster that have none.
OPEN = "-open"


@dataclass(frozen=True)
class Assigned:
    """The assignments that reviews are about.

    Attributes
    ----------
    table : DataFrame
        Columns image, image_id, predicted_label, cluster (Int64), group and, if it is there,
        status of its `assignments.csv`; text that is missing is "".
    root : path or RemoteLocation
        Where its images are.
    where : str
        The file, for messages.
    recorded : str
        The fingerprint that its `assignments.json` holds; "": none.
    link_roots : tuple of Path
        Where else links among its images may lead.
    batches : tuple of BatchRecord
        Where its rows were decided in several calls.
    """

    table: pd.DataFrame
    root: Place
    where: str
    recorded: str = ""
    link_roots: tuple[Path, ...] = ()
    batches: tuple[BatchRecord, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """See `clusters_fingerprint`."""
        return clusters_fingerprint(self.table)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What a row about one of its clusters may say of it, or of what it has grown from."""
        return self.fingerprint, self.recorded, self.open_fingerprint, *self.grown_from

    @cached_property
    def grown_from(self) -> dict[str, int]:
        """Of each fingerprint that the table had before it grew, its last batch then."""
        return {name: i for i, batch in enumerate(self.batches) for name in batch.clusters
                if name != self.fingerprint}  # fmt: skip

    @cached_property
    def batch_of(self) -> np.ndarray:
        """(N,) int: which of `batches` each row was decided in."""
        of = {name: i for i, batch in enumerate(self.batches) for name in batch.names}
        return self.table["image"].map(of).fillna(0).to_numpy(dtype=int)

    @cached_property
    def open_fingerprint(self) -> str:
        """What a row says that is about the members without a label alone: see `open_members`."""
        return self.fingerprint + OPEN

    @cached_property
    def answered(self) -> set[str]:
        """Ids of the images whose label is what a person answered in a check."""
        return set(self.table["image_id"][has_status(self.table, ("reviewed",))])


def has_status(table: pd.DataFrame, statuses: Sequence[str] = SETTLED) -> pd.Series:
    """Say of each row whether its status is among some: of none where there is no such column."""
    if "status" not in table:
        return pd.Series(False, index=table.index)
    return table["status"].isin(statuses)


def open_members(table: pd.DataFrame) -> pd.DataFrame:
    """Return the members of clusters that still need a person.

    `certify` labels some and leaves them the number of their cluster, so that what was said of
    the cluster before holds. What is said after it is about the others, which is all that a page
    shows of the cluster then; to the fingerprint of such rows `OPEN` is appended.

    Parameters
    ----------
    table : DataFrame
        Columns status and cluster.
    """
    return table[table["cluster"].notna() & ~has_status(table)]


def clusters_fingerprint(table: pd.DataFrame) -> str:
    """Name which images are in which cluster: an x and 15 hex digits.

    The fingerprint in `assignments.json` would not do alone: it is of the input and the run,
    while `--max-error` changes the clusters too, and a copied folder does not.

    Parameters
    ----------
    table : DataFrame
        Columns image_id and cluster.
    """
    members = table[["cluster", "image_id"]][table["cluster"].notna()]
    digest = hashlib.sha256()
    for number, ids in members["image_id"].groupby(members["cluster"].astype(int)):
        lines = (f"{number} {identity}\n" for identity in sorted(ids))
        digest.update("".join(lines).encode())
    # "x": no program takes it for a number, and rounds it.
    return "x" + digest.hexdigest()[:15]


class KnownImages:
    """The images that a row may name: each as its id and its row in `assigned.table` (or -1).

    Parameters
    ----------
    assigned : Assigned or None
    labelled : DataFrame
        image_id and label of the images that are known without `assigned`.
    """

    def __init__(self, assigned: Assigned | None, labelled: pd.DataFrame) -> None:
        self.assigned = assigned
        self.by_id: dict[str, int] = {}
        self.members: dict[int, list[tuple[str, int]]] = {}
        self._open: set[int] = set()
        labels = labelled.sort_values("label", na_position="last").drop_duplicates("image_id")
        self.labels = dict(zip(labels["image_id"], labels["label"], strict=True))
        if assigned is None:
            return
        table = assigned.table
        self.predictions = table["predicted_label"].tolist()
        self._open = set(np.flatnonzero(~has_status(table).to_numpy()).tolist())
        for position, (identity, number) in enumerate(
            zip(table["image_id"], table["cluster"], strict=True)
        ):
            if not identity:
                continue
            self.by_id.setdefault(identity, position)
            if pd.notna(number):
                self.members.setdefault(int(number), []).append((identity, position))

    def image(self, image_id: str, where: str) -> list[tuple[str, int]]:
        """Return the image of an id; `where` names the row in messages."""
        if image_id in self.by_id:
            return [(image_id, self.by_id[image_id])]
        if image_id in self.labels:
            return [(image_id, -1)]
        if is_number(image_id):
            raise DataError(
                f"{where}: image_id '{shown(image_id)}' is a number, and no id of an image is one: "
                "a spreadsheet has changed it; copy it anew from the column image_id"
            )
        source = f"{self.assigned.where} or " if self.assigned else ""
        hint = "; put the reviews beside the assignments.csv they are of"
        if self.assigned:
            hint = ", or name the run that the reviews are of (review --run, fit --reviews-of)"
        raise DataError(
            f"{where}: image_id '{shown(image_id)}' is not in {source}the labelled images; copy "
            f"it from the column image_id, or remove the row{hint}"
        )

    def cluster(
        self, number: int, image: str, assignments: str, where: str
    ) -> list[tuple[str, int]]:
        """Return the images of a cluster, after a check that the row means these assignments."""
        if self.assigned is None:
            raise DataError(
                f"{where}: 'cluster:{number}' needs the assignments.csv that numbers the "
                "clusters; put it beside the reviews file"
            )
        if assignments and assignments not in self.assigned.fingerprints:
            raise DataError(
                f"{where}: cluster {number} is one of the assignments "
                f"'{shown(assignments)}', and {self.assigned.where} has the fingerprint "
                f"{self.assigned.fingerprint}: its clusters are others; put the reviews beside the "
                "assignments.csv they are of, or remove the row"
            )
        before = self.assigned.grown_from.get(assignments)
        if before is not None:
            # Those that joined it later were not shown to whoever named it.
            members = self.members.get(number, [])
            return [one for one in members if self.assigned.batch_of[one[1]] <= before]
        if number not in self.members:
            have = f"clusters 0 to {max(self.members)}" if self.members else "no clusters"
            raise DataError(
                f"{where}: there is no cluster {number} in {self.assigned.where}, which has "
                f"{have}; correct the number or remove the row"
            )
        members = self.members[number]
        is_open = assignments == self.assigned.open_fingerprint
        images = self.assigned.table["image"]
        # Numbers mean something in one assignments.csv only; an image of the cluster tells.
        if image and image not in {images.iloc[p] for _, p in members}:
            raise DataError(
                f"{where}: cluster {number} of {self.assigned.where} does not hold the image "
                f"'{shown(image)}' that the row names: it was written for other clusters; "
                "put the reviews beside the assignments.csv they are of"
            )
        return [one for one in members if one[1] in self._open] if is_open else members

    def predicted(self, image_id: str, position: int) -> str:
        """Return what was predicted, or the label that is known; "" for neither."""
        found = self.predictions[position] if position >= 0 else self.labels.get(image_id)
        return found if isinstance(found, str) else ""
