"""Small pictures of members of clusters that have no card: to be sorted, and looked at first."""

import logging
from collections.abc import Sequence

import numpy as np

from clusterkit.auditing.batch import AuditBatch
from clusterkit.auditing.card_images import ImageFiles
from clusterkit.auditing.page import Tile
from clusterkit.formats.assignment_rows import AssignmentRow, assignment_rows
from clusterkit.formats.known_images import has_status
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")


class Tiles:
    """Tiles of the clusters, within a number that all of them may have together.

    Parameters
    ----------
    most : int
        Tiles of all clusters together.
    seed : int
        Where there are more members than tiles, chance decides which have one: with the cards,
        drawn in their proportion, they are a random sample of the cluster.

    Attributes
    ----------
    left_out : int
        Members that have neither a card nor a tile.
    """

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seed = most, seed
        self.left_out = 0

    def draw(
        self, batch: AuditBatch, chosen: np.ndarray, files: ImageFiles, progress: Progress
    ) -> dict[int, list[Tile]]:
        """Draw the tiles of the members without a card, by the number of their cluster.

        Parameters
        ----------
        batch : AuditBatch
        chosen : (n,) int
            Positions of the rows that have a card.
        files : ImageFiles
        progress : callable
            Called with (stage, done, total).
        """
        of_cluster = _without_card(batch, chosen)
        counts = even_shares([len(rows) for rows in of_cluster.values()], self.most)
        self.left_out = sum(map(len, of_cluster.values())) - sum(counts)
        drawn: dict[int, list[Tile]] = {}
        done = 0
        for (cluster, rows), count in zip(of_cluster.items(), counts, strict=True):
            rng = np.random.default_rng([self.seed, cluster])
            taken = np.sort(rng.permutation(rows)[:count])
            drawn[cluster] = []
            for row in assignment_rows(batch.table.iloc[taken]):
                drawn[cluster].append(_tile_of(row, files))
                done += 1
                progress("audit tiles", done, sum(counts))
        return drawn

    def notes(self) -> list[str]:
        """Return what a reader of the page should know, and log it."""
        if not self.left_out:
            return []
        log.warning("%d members of clusters have no picture on the page: %d may have one beside "
                    "the cards; give a larger --limit, or a larger audit.tiles",
                    self.left_out, self.most)  # fmt: skip
        return [f"{self.left_out:,} images of clusters have no picture here: beside the cards "
                f"{self.most:,} may have one (audit.tiles), drawn by chance."]  # fmt: skip


def even_shares(sizes: Sequence[int], most: int) -> list[int]:
    """Divide a number among parts as evenly as their sizes allow.

    >>> even_shares([2, 100, 50], 40)
    [2, 19, 19]
    """
    shares = [0] * len(sizes)
    for left, part in zip(
        range(len(sizes), 0, -1), np.argsort(sizes, kind="stable").tolist(), strict=True
    ):
        shares[part] = min(sizes[part], most // left)
        most -= shares[part]
    return shares


def _without_card(batch: AuditBatch, chosen: np.ndarray) -> dict[int, np.ndarray]:
    """Positions of the members without a card or a label, of each cluster of two or more."""
    clusters = batch.table["cluster"].where(~has_status(batch.table))
    # A row without an id has no decision: nothing would be said of it.
    named = (batch.table["image_id"] != "").to_numpy()
    free = clusters.notna().to_numpy() & named
    free[chosen] = False
    sizes = clusters.value_counts()
    free &= clusters.isin(sizes.index[sizes > 1]).to_numpy()
    rows = np.flatnonzero(free)
    numbers = clusters.iloc[rows].to_numpy(dtype=int)
    return {int(number): rows[numbers == number] for number in np.unique(numbers)}


def _tile_of(row: AssignmentRow, files: ImageFiles) -> Tile:
    return Tile(row.image, row.image_id, row.status, row.predicted_label, files.open_tile(row))
