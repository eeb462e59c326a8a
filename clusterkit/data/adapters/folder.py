"""Adapter of a folder with one subfolder per class."""

import logging
from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.left_out import LeftOut
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.listing import list_images
from clusterkit.data.split_folders import check_class_folders, split_and_label, split_role

log = logging.getLogger("clusterkit")

# What `export --to folders` writes, and its folders that are no classes.
_EXPORT, _NO_CLASSES = "clusterkit-export.json", ("_review", "_novel", "_failed")


class FolderAdapter:
    """`root/<class>/…/image.png`; images directly in the root are unlabelled.

    With `config.split_folders`: `root/<split>/<class>/…/image.png`.
    """

    name = "folder"

    def __init__(self, source: Path, config: DataConfig) -> None:
        self.source, self.config, self.left_out = source, config, LeftOut()

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for any folder."""
        return source.is_dir()

    def read(self) -> pd.DataFrame:
        """Rows, one per image; the label is the first folder of its path.

        Raises
        ------
        DataError
            The folder holds no image, or its first folders look like a split.
        """
        config = self.config
        found = list_images(self.source, self.left_out, LinkRules.of(config, self.source))
        images = found.images
        columns: dict[str, list[str] | list[str | None]] = {"image": images, "path": found.paths}
        if config.split_folders:
            self._warn_of_others(images)
            pairs = [split_and_label(image) for image in images]
            columns["split"] = [split for split, _ in pairs]
            columns["label"] = [label for _, label in pairs]
        else:
            columns["label"] = self._labels(images)
        return pd.DataFrame({**columns, "group": None}, dtype=object)

    def _labels(self, images: list[str]) -> list[str | None]:
        """Labels of images whose first folders are the classes."""
        # With a label tag folders are no labels.
        if self.config.split_folders is None and not self.config.label_tag:
            check_class_folders(self.source, images)
        labels = [i.split("/")[0].strip() or None if "/" in i else None for i in images]
        if (self.source / _EXPORT).is_file():
            labels = [None if label in _NO_CLASSES else label for label in labels]
        return labels

    def _warn_of_others(self, images: list[str]) -> None:
        first = {i.split("/")[0] for i in images if "/" in i}
        others = sorted(name for name in first if split_role(name) is None)
        if others:
            log.warning("%s: %d folders are called like no split, e.g. %s: their images are in "
                        "none", self.source, len(others), others[0])  # fmt: skip
