"""Adapter of a CSV or TSV with one row per image."""

from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import inside_root
from clusterkit.data.frames import resolve_uids
from clusterkit.data.patients import group_column, unused_group_sentence
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError, nearest_name

_ENDINGS = (".csv", ".tsv", ".txt")


class CsvAdapter:
    """Columns image and label; optional group, split and frame. An empty label: unlabelled.

    The image is a path, or the SOPInstanceUID of a DICOM file under the root.
    """

    name = "csv"

    def __init__(self, source: Path, config: DataConfig, labels: bool = True) -> None:
        self.source, self.config, self.labels = source, config, labels
        # Of each row the number of its line; and what is to be said of the table's groups.
        self.lines: list[int] = []
        self.group_remark = ""

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for a file ending in .csv, .tsv or .txt."""
        return source.is_file() and source.suffix.lower() in _ENDINGS

    def read(self) -> pd.DataFrame:
        """Rows, one per line; the text of a cell is kept, except blanks around it.

        Raises
        ------
        DataError
            See `read_table`; a column or the folder of the images is missing, a column is there
            twice, or a path leaves that folder.
        """
        names, lines, numbers = read_table(self.source)
        self.lines = numbers
        self.group_remark = unused_group_sentence(names, lines, self.config.group_column)
        config, root = self.config, Path(self.config.images or self.source.parent)
        if not root.is_dir():
            raise DataError(f"folder {root} of the images does not exist; check --images")
        wanted = [config.image_column, *([config.label_column] if self.labels else [])]
        group = group_column(config)
        if group and group != DataConfig().group_column:
            # Asked for by name, it has to be there: without it, patients would be split.
            wanted.append(group)
        for column in wanted:
            if column not in names:
                raise DataError(
                    f"{self.source} has no column '{column}'{nearest_name(column, names)}; it has "
                    f"{', '.join(names[:12])}; name yours with --image-column, --label-column, "
                    "--group-column"
                )
        images = [
            image.strip().replace("\\", "/")
            for image in self._column(names, lines, config.image_column)
        ]
        images = resolve_uids(root, images)
        paths = [
            inside_root(root, image, f"{self.source}, line {number}")
            for number, image in zip(numbers, images, strict=True)
        ]
        out = pd.DataFrame(
            {"image": images, "path": [str(p.absolute()) for p in paths]}, dtype=object
        )
        out["image"] = [Path(image).as_posix() for image in images]
        columns: dict[str, str | None]
        columns = {"label": config.label_column, "group": group, "split": "split",
                   "frame": "frame"}  # fmt: skip
        for name, own in columns.items():
            if own is None or own not in names:
                out[name] = None
                continue
            out[name] = [cell.strip() or None for cell in self._column(names, lines, own)]
        return out

    def _column(self, names: list[str], lines: list[list[str]], column: str) -> list[str]:
        if names.count(column) > 1:
            raise DataError(f"{self.source} has {names.count(column)} columns '{column}'; keep one")
        place = names.index(column)
        return [line[place] for line in lines]
