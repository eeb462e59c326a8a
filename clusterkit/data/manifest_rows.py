"""Rows of a manifest: their columns, and their order."""

import pandas as pd

from clusterkit.config import Config, DataConfig

COLUMNS = ["image", "image_id", "path", "label", "group", "split", "frame"]


def whole_config(config: Config | DataConfig | None) -> Config:
    """Configuration whose section `data` is given, or all of it."""
    return config if isinstance(config, Config) else Config(data=config or DataConfig())


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of an adapter with every column but `image_id`; what is missing is None."""
    others = [c for c in rows if c not in COLUMNS]
    rows = rows.reindex(columns=[*(c for c in COLUMNS if c != "image_id"), *others]).astype(object)
    return rows.where(rows.notna(), None)


def sort_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by image, path and number of the frame."""
    numbers = [-1 if frame is None else int(frame) for frame in rows["frame"]]
    rows = rows.assign(_frame=numbers).sort_values(["image", "path", "_frame"], ignore_index=True)
    return rows.drop(columns="_frame")
