"""An adapter of your own: labels that stand in a JSON-lines file.

Put it into a package of yours and declare it in that package's pyproject.toml::

    [project.entry-points."clusterkit.adapters"]
    jsonl = "your_package.own_adapter:JsonLinesAdapter"

Then `clusterkit fit labels.jsonl` finds it. Run this file to see what it reads.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import inside_root
from clusterkit.errors import DataError


class JsonLinesAdapter:
    """One object a line: {"image": …, "label": …, "group": …}."""

    name = "jsonl"

    def __init__(self, source: Path, config: DataConfig) -> None:
        self.source = source
        self.root = Path(config.images or source.parent)

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """A file ending in .jsonl."""
        return source.is_file() and source.suffix == ".jsonl"

    def read(self) -> pd.DataFrame:
        """Return columns image, path, label, group."""
        rows = []
        for number, line in enumerate(self.source.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{self.source}, line {number}"
            try:
                row = json.loads(line)
                image = row["image"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{where}: no object with an image: {line[:60]!r}") from error
            path = inside_root(self.root, image, where)
            rows.append((image, str(path.absolute()), row.get("label"), row.get("group")))
        return pd.DataFrame(rows, columns=["image", "path", "label", "group"], dtype=object)


if __name__ == "__main__":
    print(JsonLinesAdapter(Path(sys.argv[1]), DataConfig()).read())
