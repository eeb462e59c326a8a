"""Adapter of a CSV, TSV or workbook with one row per image."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.file_names import FileFinder, relative_names, with_ending
from clusterkit.data.files import ImageFolder
from clusterkit.data.frames import resolve_uids
from clusterkit.data.guarded_path import GuardedPath, RefusedPathError
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.one_hot import find_one_hot, one_hot_labels, one_hot_note
from clusterkit.data.patients import group_column, unused_group_sentence
from clusterkit.data.remote_listing import find_named
from clusterkit.data.remote_places import Place, RemoteLocation, place_of
from clusterkit.data.stores import without_secrets
from clusterkit.data.tables import one_column_note, read_table
from clusterkit.errors import DataError, nearest_name

log = logging.getLogger("clusterkit")

_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx")
_OPTION = "--separator"


class CsvAdapter:
    """Columns image and label; optional group, split and frame. An empty label: unlabelled.

    The image is a path, or the SOPInstanceUID of a DICOM file under the root.
    """

    name = "csv"

    def __init__(
        self, source: Path, config: DataConfig, labels: bool = True, keep_refused: bool = False
    ) -> None:
        """Adapt a table.

        Parameters
        ----------
        labels : bool
            False: it need not have a label column.
        keep_refused : bool
            A row whose path is not followed stays, with a path that says why; only where that is
            so of all rows is it an error.
        """
        self.source, self.config, self.labels = source, config, labels
        self.keep_refused = keep_refused
        # Of each row the number of its line; and what is to be said of the table's groups.
        self.lines: list[int] = []
        self.group_remark = ""

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for a file ending in .csv, .tsv, .txt or .xlsx."""
        return source.is_file() and source.suffix.lower() in _ENDINGS

    def read(self) -> pd.DataFrame:
        """Rows, one per line; the text of a cell is kept, except blanks around it.

        Raises
        ------
        DataError
            See `read_table`, `relative_names` and `one_hot_labels`; a column or the folder of the
            images is missing, a column is there twice, or an image is a link out of that folder.
            With `keep_refused`, names of images are errors only where all are.
        """
        config, wanted = self.config, self._wanted()
        names, lines, numbers = read_table(
            self.source, separator=config.separator, wanted=wanted, option=_OPTION,
            nul=self.keep_refused,
        )  # fmt: skip
        self.lines = numbers
        self.group_remark = unused_group_sentence(names, lines, config.group_column)
        root = place_of(config.images or self.source.parent)
        if isinstance(root, Path) and not root.is_dir():
            raise DataError(f"folder {root} of the images does not exist; check --images")
        for column in wanted:
            if column not in names:
                raise DataError(self._missing(column, names, lines))
        written = [image.strip() for image in self._column(names, lines, config.image_column)]
        images, paths = self._files(root, written, numbers)
        out = pd.DataFrame({"image": images, "path": paths}, dtype=object)
        columns = {"label": config.label_column, "group": group_column(config), "split": "split",
                   "frame": "frame"}  # fmt: skip
        for name, own in columns.items():
            if own is None or own not in names:
                out[name] = None
                continue
            texts = self._column(names, lines, own)
            out[name] = [text.replace("\0", "").strip() or None for text in texts]
        if self.labels and config.label_columns:
            cells = [self._column(names, lines, column) for column in config.label_columns]
            out["label"] = one_hot_labels(config.label_columns, cells, str(self.source), numbers)
        return out

    def _wanted(self) -> list[str]:
        """Columns that have to be there."""
        config, usual = self.config, DataConfig()
        wanted = [config.image_column]
        if self.labels and config.label_columns:
            if config.label_column != usual.label_column:
                raise DataError(f"{self.source}: labels are either in the column "
                                f"'{config.label_column}' or one column a class; leave out "
                                "--label-column or --label-columns")  # fmt: skip
            wanted += config.label_columns
        elif self.labels:
            wanted.append(config.label_column)
        group = group_column(config)
        if group and group != usual.group_column:
            # Asked for by name, it has to be there: without it, patients would be split.
            wanted.append(group)
        return wanted

    def _missing(self, column: str, names: list[str], lines: list[list[str]]) -> str:
        config = self.config
        note = one_column_note(names, config.separator, _OPTION)
        if not note and column == config.label_column:
            others = (config.image_column, config.group_column, "split", "frame")
            note = one_hot_note(find_one_hot(names, lines, others))
        return (
            f"{self.source} has no column '{column}'{nearest_name(column, names)}; it has "
            f"{', '.join(names[:12])}"
            + (note or "; name yours with --image-column, --label-column, --group-column")
        )

    def _files(
        self, root: Place, written: list[str], numbers: Sequence[int]
    ) -> tuple[list[str], list[str]]:
        """Names relative to the root and absolute paths of the files that cells name."""

        def where(row: int) -> str:
            return f"{self.source}, line {numbers[row]}"

        refused: dict[int, RefusedPathError] = {}
        if isinstance(root, RemoteLocation):
            return self._remote_files(root, written, where)
        images = relative_names(root, written, where, refused)
        if self.config.image_ending:
            images = [with_ending(image, self.config.image_ending) for image in images]
        images = resolve_uids(root, images)
        finder, paths = FileFinder(root), []
        folder = ImageFolder(root, tuple(map(Path, LinkRules.of(self.config).roots)))
        for row, image in enumerate(images):
            try:
                path = Path(folder.find(image, where(row)))
                if not os.path.lexists(path):
                    images[row] = finder.find(image, where(row))
                    path = Path(folder.find(images[row], where(row)))
                paths.append(str(path.absolute()))
            except RefusedPathError as error:
                reason = refused.setdefault(row, error).reason
                images[row], nowhere = self._nowhere(written[row], reason)
                paths.append(nowhere)
        self._judge(refused, len(written))
        finder.report()
        return images, paths

    def _remote_files(
        self, root: RemoteLocation, written: list[str], where: Callable[[int], str]
    ) -> tuple[list[str], list[str]]:
        refused: dict[int, RefusedPathError] = {}
        cells = written
        if self.config.image_ending:
            cells = [with_ending(cell, self.config.image_ending) for cell in written]
        images, paths = find_named(root, cells, where, refused)
        for row, error in refused.items():
            images[row], paths[row] = self._nowhere(written[row], error.reason)
        self._judge(refused, len(written))
        return images, paths

    def _nowhere(self, cell: str, reason: str) -> tuple[str, GuardedPath]:
        """Name and path of a row whose file is not looked for; neither holds a password."""
        plain = without_secrets(cell)
        # Below a file there is nothing: whoever looks for it finds none.
        path = f"{self.source.absolute()}/{quote(plain, safe='')}"
        return plain.replace("\\", "/").replace("\0", "%00"), GuardedPath(path, (), reason, True)

    def _judge(self, refused: dict[int, RefusedPathError], rows: int) -> None:
        """Raise the first refusal, unless rows are kept and some are in order."""
        if not refused:
            return
        first = refused[min(refused)]
        if not self.keep_refused or len(refused) == rows:
            raise first
        log.warning("no file is read for %d of %d rows, which fail, e.g. %s",
                    len(refused), rows, first)  # fmt: skip

    def _column(self, names: list[str], lines: list[list[str]], column: str) -> list[str]:
        if names.count(column) > 1:
            raise DataError(f"{self.source} has {names.count(column)} columns '{column}'; keep one")
        place = names.index(column)
        return [line[place] for line in lines]
