"""Rows of a manifest: their columns, and their order."""

import re

import pandas as pd

from clusterkit.config import Config, DataConfig

COLUMNS = ["image", "image_id", "path", "label", "group", "split", "frame"]


# What people call the three sides of a split.
_SPLITS = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "validate": "valid", "dev": "valid",
    "development": "valid",
    "test": "test", "testing": "test", "holdout": "test", "hold-out": "test", "held-out": "test",
}  # fmt: skip


def known_split(text: str | None) -> str | None:
    """Side of a split by the name that people give it: train, valid or test.

    None for none; a name that is not known stays as it is.

    >>> known_split("Validation"), known_split("hold out"), known_split("fold3")
    ('valid', 'test', 'fold3')
    """
    if not isinstance(text, str):
        return None
    return _SPLITS.get(re.sub("[ _]", "-", text.strip().lower()), text)


def whole_config(config: Config | DataConfig | None) -> Config:
    """Configuration whose section `data` is given, or all of it."""
    return config if isinstance(config, Config) else Config(data=config or DataConfig())


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of an adapter with every column but `image_id`; what is missing is None."""
    others = [c for c in rows if c not in COLUMNS]
    rows = rows.reindex(columns=[*(c for c in COLUMNS if c != "image_id"), *others]).astype(object)
    rows = rows.where(rows.notna(), None)
    rows["split"] = pd.Series(map(known_split, rows["split"]), index=rows.index, dtype=object)
    return rows


def sort_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by image, path and number of the frame."""
    numbers = [-1 if frame is None else int(frame) for frame in rows["frame"]]
    rows = rows.assign(_frame=numbers).sort_values(["image", "path", "_frame"], ignore_index=True)
    return rows.drop(columns="_frame")
