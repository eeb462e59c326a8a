"""A CSV or TSV with a row an image."""

from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import inside_root
from clusterkit.errors import DataError

_ENDINGS = (".csv", ".tsv", ".txt")


class CsvAdapter:
    """Columns image and label; optional group, split and frame. An empty label: unlabelled."""

    name = "csv"

    def __init__(self, source: Path, config: DataConfig, labels: bool = True) -> None:
        self.source, self.config, self.labels = source, config, labels

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """A file ending in .csv, .tsv or .txt."""
        return source.is_file() and source.suffix.lower() in _ENDINGS

    def read(self) -> pd.DataFrame:
        """Return one row a line; the text of every cell is kept as it is, but for blanks around."""
        table = self._read_table()
        config, root = self.config, Path(self.config.images or self.source.parent)
        if not root.is_dir():
            raise DataError(f"folder {root} of the images does not exist; check --images")
        wanted = [config.image_column, *([config.label_column] if self.labels else [])]
        for column in wanted:
            if column not in table.columns:
                raise DataError(
                    f"{self.source} has no column '{column}'; it has "
                    f"{', '.join(map(str, table.columns[:12]))}; name yours with "
                    "--image-column, --label-column"
                )
        images = [image.strip().replace("\\", "/") for image in table[config.image_column]]
        # Line 1 holds the column names.
        paths = [
            inside_root(root, image, f"{self.source}, line {line}")
            for line, image in enumerate(images, start=2)
        ]
        out = pd.DataFrame(
            {"image": images, "path": [str(p.absolute()) for p in paths]}, dtype=object
        )
        out["image"] = [Path(image).as_posix() for image in images]
        columns = {"label": config.label_column, "group": config.group_column, "split": "split",
                   "frame": "frame"}  # fmt: skip
        for name, column in columns.items():
            out[name] = _texts(table[column]) if column in table.columns else None
        return out

    def _read_table(self) -> pd.DataFrame:
        separator = "\t" if self.source.suffix.lower() == ".tsv" else ","
        try:
            table = pd.read_csv(
                self.source, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
        except UnicodeDecodeError as error:
            raise DataError(f"{self.source} is not UTF-8 text; save it as CSV in UTF-8") from error
        except pd.errors.EmptyDataError as error:
            raise DataError(f"{self.source} is empty; it needs a line of column names") from error
        except (pd.errors.ParserError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.source} cannot be read as a table: {reason}") from error
        if table.empty:
            raise DataError(f"{self.source} has column names but no rows; add a row an image")
        # A line shorter than the header leaves missing values even where all is read as text.
        return table.fillna("")


def _texts(column: pd.Series) -> list[str | None]:
    return [value.strip() or None for value in column]
