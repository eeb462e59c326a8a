"""Adapter of a CSV or TSV with one row per image."""

import csv
from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import inside_root
from clusterkit.data.frames import resolve_uids
from clusterkit.errors import DataError, nearest_name

_ENDINGS = (".csv", ".tsv", ".txt")


class CsvAdapter:
    """Columns image and label; optional group, split and frame. An empty label: unlabelled.

    The image is a path, or the SOPInstanceUID of a DICOM file under the root.
    """

    name = "csv"

    def __init__(self, source: Path, config: DataConfig, labels: bool = True) -> None:
        self.source, self.config, self.labels = source, config, labels

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
        config, root = self.config, Path(self.config.images or self.source.parent)
        if not root.is_dir():
            raise DataError(f"folder {root} of the images does not exist; check --images")
        wanted = [config.image_column, *([config.label_column] if self.labels else [])]
        if config.group_column != DataConfig().group_column:
            # Asked for by name, it has to be there: without it, patients would be split.
            wanted.append(config.group_column)
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
        columns = {"label": config.label_column, "group": config.group_column, "split": "split",
                   "frame": "frame"}  # fmt: skip
        for name, column in columns.items():
            if column not in names:
                out[name] = None
                continue
            out[name] = [cell.strip() or None for cell in self._column(names, lines, column)]
        return out

    def _column(self, names: list[str], lines: list[list[str]], column: str) -> list[str]:
        if names.count(column) > 1:
            raise DataError(f"{self.source} has {names.count(column)} columns '{column}'; keep one")
        place = names.index(column)
        return [line[place] for line in lines]


def read_table(source: Path, unit: str = "image") -> tuple[list[str], list[list[str]], list[int]]:
    """Column names, rows (as long as the names), and the number of each row's last line.

    Not by pandas: where rows have one cell more than the names, as with a comma at each line's
    end, it takes the first column for an index, and every label moves to its neighbour.

    Raises
    ------
    DataError
        The file cannot be read, is not UTF-8 text, is no table, or has no rows.
    """
    separator = "\t" if source.suffix.lower() == ".tsv" else ","
    names, lines, numbers = None, [], []
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if names is None:
                    names = [cell.strip() for cell in cells]
                    continue
                lines.append(_fitted(source, cells, len(names), reader.line_num))
                numbers.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text; save it as CSV in UTF-8") from error
    except (csv.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or f"line {reader.line_num}: {error}"
        raise DataError(f"{source} cannot be read as a table: {reason}") from error
    if names is None:
        raise DataError(f"{source} is empty; it needs a line of column names")
    if not lines:
        raise DataError(f"{source} has column names but no rows; add a row for each {unit}")
    return names, lines, numbers


def _fitted(source: Path, cells: list[str], width: int, number: int) -> list[str]:
    """Cells of a row, as many as there are columns; only empty ones may be too many."""
    extra = [cell for cell in cells[width:] if cell.strip()]
    if extra:
        raise DataError(
            f"{source}, line {number}: {len(cells)} cells for {width} columns, "
            f"e.g. {extra[0][:60]!r}; put a cell that holds a separator in double quotes"
        )
    return [*cells[:width], *[""] * (width - len(cells))]
