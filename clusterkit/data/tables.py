"""Tables that people bring: the one place where their text becomes rows of cells."""

import csv
from pathlib import Path

from clusterkit.errors import DataError


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
