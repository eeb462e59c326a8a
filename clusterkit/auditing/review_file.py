"""`reviews.csv` as a page adds to it: rows at its end, whole or not at all."""

import os
import threading
from itertools import islice
from pathlib import Path

import pandas as pd

from clusterkit.data.tables import encoding_of, read_table
from clusterkit.errors import DataError
from clusterkit.formats.atomic import replacing
from clusterkit.formats.csv_text import safe_csv_text, table_text
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.locking import locked
from clusterkit.formats.reviews import (
    FURTHER_COLUMNS,
    REVIEW_COLUMNS,
    read_reviews,
    spread_reviews,
)


class DamagedError(DataError):
    """Raised where rows cannot be added to a reviews.csv as it is; they have to wait."""


class ReviewFile:
    """File of reviews that decisions are added to, one at a time and whole or not at all.

    Nothing in it is ever changed or taken out: undone is what a later row says otherwise.

    Parameters
    ----------
    path : Path
        Need not be there.
    assigned : Assigned
        The assignments that the reviews are about.
    labelled : DataFrame
        image_id and label of the run's labelled images.

    Raises
    ------
    DamagedError
        The file is there and cannot be used as it is.
    """

    def __init__(self, path: Path, assigned: Assigned, labelled: pd.DataFrame) -> None:
        # What a link points to is replaced, not the link.
        self.path, self.assigned, self.labelled = Path(os.path.realpath(path)), assigned, labelled
        self._lock = threading.Lock()
        self._table()

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, each a dict with the columns of reviews.csv; further ones if given."""
        if not self._table()[1]:
            return []
        columns = [*REVIEW_COLUMNS, *FURTHER_COLUMNS]
        rows = read_reviews(self.path)[columns].to_dict("records")
        return [{str(k): v for k, v in row.items() if v or k in REVIEW_COLUMNS} for row in rows]

    def version(self) -> str:
        """Return what changes whenever the file does; "": there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return ""
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return the file's columns and raw cells, after a check that they can be used.

        Raises
        ------
        DamagedError
            They cannot.
        """
        if not self.path.exists():
            return [], []
        try:
            with self.path.open(encoding=encoding_of(self.path)) as file:
                blank = not any(line.strip() for line in islice(file, 1, None))
                file.seek(0)
                head = file.readline().strip()
            if blank and (not head or head == ",".join(REVIEW_COLUMNS)):
                return [], []
            spread_reviews(self.path, self.assigned, self.labelled)
            names, lines, _ = read_table(self.path, wanted=REVIEW_COLUMNS)
        except (DataError, OSError, UnicodeError) as error:
            raise DamagedError(
                f"{error}; mend {self.path.name} or move it away: nothing is written to it"
            ) from error
        return names, lines

    def append(self, rows: list[dict[str, str]]) -> None:
        """Add rows at the end.

        Raises
        ------
        DamagedError
            The file as it is cannot be used.
        DataError
            A row cannot be used; nothing is written.
        """
        with self._lock, locked(self.path):
            # Raw cells: a column of the user's own, and his spelling, stay as they are.
            names, lines = self._table()
            further = [c for c in FURTHER_COLUMNS if any(row.get(c) for row in rows)]
            names = [*names, *(c for c in (*REVIEW_COLUMNS, *further) if c not in names)]
            lines = [[*line, *[""] * (len(names) - len(line))] for line in lines]
            lines += [[safe_csv_text(row.get(name, "")) for name in names] for row in rows]
            # Columns of text by pyarrow hold no half of a surrogate pair.
            table = pd.DataFrame(lines, columns=names, dtype=object)
            partial = ""
            try:
                with replacing(self.path, mark=True) as file:
                    partial = file.name
                    file.write(table_text(table))
                    file.flush()
                    spread_reviews(partial, self.assigned, self.labelled)
            except UnicodeError as error:
                raise DataError("a label or note is no valid text; write it anew") from error
            except DataError as error:
                raise DataError(str(error).replace(partial, self.path.name)) from error
