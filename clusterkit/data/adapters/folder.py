"""Adapter of a folder with one subfolder per class."""

from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import find_images
from clusterkit.data.left_out import LeftOut


class FolderAdapter:
    """`root/<class>/…/image.png`; images directly in the root are unlabelled."""

    name = "folder"

    def __init__(self, source: Path, config: DataConfig) -> None:
        self.source, self.left_out = source, LeftOut()

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for any folder."""
        return source.is_dir()

    def read(self) -> pd.DataFrame:
        """Rows, one per image; the label is the first folder of its path.

        Raises
        ------
        DataError
            The folder holds no image.
        """
        images = find_images(self.source, self.left_out)
        return pd.DataFrame(
            {
                "image": images,
                "path": [str((self.source / image).absolute()) for image in images],
                "label": [i.split("/")[0].strip() or None if "/" in i else None for i in images],
                "group": None,
            },
            dtype=object,
        )
