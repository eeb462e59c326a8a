"""Rows to export, made one by one: a million of them at once would not fit into memory."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.data.frames import frame_of
from clusterkit.formats.assignment_rows import AssignmentRow, row_columns

# Rows that are made of the table at a time.
PART_ROWS = 4096


@dataclass(frozen=True)
class ExportRow(AssignmentRow):
    """Row of the assignments, and the file of its image.

    Attributes
    ----------
    path : str
        The image's file.
    frame : int
        Which of the file's images it is; -1: the file holds one image.
    """

    path: str
    frame: int


@dataclass(frozen=True)
class ExportRows:
    """Some rows of a table of assignments, with the files of their images.

    Attributes
    ----------
    table : DataFrame
        All rows of the assignments.
    chosen : (n,) int
        Positions of those that are meant, ascending.
    root : str
        Folder that `image` is relative to.
    others : dict of int to str
        By position, the paths that are not simply root and image.
    """

    table: pd.DataFrame
    chosen: np.ndarray
    root: str
    others: dict[int, str]

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[ExportRow]:
        for start in range(0, len(self.chosen), PART_ROWS):
            positions = self.chosen[start : start + PART_ROWS]
            columns = row_columns(self.table.iloc[positions])
            for position, *cells in zip(positions.tolist(), *columns, strict=True):
                image, identity = cells[:2]
                frame = frame_of(identity) if "#" in identity else -1
                values = [*cells, self.path_of(position, image), frame]
                yield ExportRow(*values)

    def path_of(self, position: int, image: str) -> str:
        """Return the path of the image in a row."""
        return self.others.get(position) or plain_path(self.root, image)

    def without(self, lost: Collection[int]) -> "ExportRows":
        """Return all but some rows, which are counted from 0 in the order of these."""
        kept = np.delete(self.chosen, np.array(sorted(lost), dtype=int))
        return ExportRows(self.table, kept, self.root, self.others)

    def statuses(self) -> Counter[str]:
        """Count the rows of each status."""
        return Counter(self.table["status"].iloc[self.chosen].tolist())

    def labels(self, *statuses: str) -> list[str]:
        """Return the labels of rows with these statuses, sorted, each once."""
        part = self.table[["status", "predicted_label"]].iloc[self.chosen]
        return sorted(part["predicted_label"][part["status"].isin(statuses)].unique().tolist())


def plain_path(root: str, image: str) -> str:
    """Return the path of an image whose name is that of its file.

    >>> plain_path("/data", "a/b.png")
    '/data/a/b.png'
    """
    return f"{root}/{image}"
