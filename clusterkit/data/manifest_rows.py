"""Rows of a manifest: their columns, and their order."""

import numpy as np
import pandas as pd

from clusterkit.config import Config, DataConfig
from clusterkit.data.image_types import guarded_path
from clusterkit.data.split_folders import split_role
from clusterkit.data.written_names import true_name, written_name, written_text

COLUMNS = ["image", "image_id", "path", "label", "group", "split", "frame"]


def known_split(text: str | None) -> str | None:
    """Side of a split by the name that people give it: train, valid or test.

    None for none; a name that is not known stays as it is.

    >>> known_split("Validation"), known_split("hold out"), known_split("fold3")
    ('valid', 'test', 'fold3')
    """
    if not isinstance(text, str):
        return None
    role = split_role(text)
    return role if role in ("train", "valid", "test") else text


def whole_config(config: Config | DataConfig | None) -> Config:
    """Configuration whose section `data` is given, or all of it."""
    return config if isinstance(config, Config) else Config(data=config or DataConfig())


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of an adapter with every column but `image_id`; what is missing is None.

    Names are as they will be written; see `data.written_names`.
    """
    others = [c for c in rows if c not in COLUMNS]
    rows = rows.reindex(columns=[*(c for c in COLUMNS if c != "image_id"), *others]).astype(object)
    rows = rows.where(rows.notna(), None)
    rows["split"] = pd.Series(map(known_split, rows["split"]), index=rows.index, dtype=object)
    # A path may be no text, which pandas' own columns of text do not hold; see `file_numbers`.
    # And what is text need not be there twice.
    for name, form in (("image", _written), ("path", guarded_path)):
        rows[name] = pd.Series(map(form, rows[name]), index=rows.index, dtype=object)
    return rows


def _written(image: str) -> str:
    return written_name(true_name(image))


def with_written_text(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows whose cells in some columns of text can be written everywhere; not to be done twice."""
    for name in columns:
        rows[name] = [written_text(v) if isinstance(v, str) else v for v in rows[name]]
    return rows


def file_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Number (N,) of each row's file, in the order of their paths.

    By it rows are sorted and grouped: where pandas does that by text, it may ask pyarrow, and a
    path that is no text is then an error.
    """
    return np.unique(rows["path"].to_numpy(dtype=object), return_inverse=True)[1]


def sort_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by image, path and number of the frame."""
    numbers = [-1 if frame is None else int(frame) for frame in rows["frame"]]
    rows = rows.assign(_file=file_numbers(rows), _frame=numbers)
    rows = rows.sort_values(["image", "_file", "_frame"], ignore_index=True)
    return rows.drop(columns=["_file", "_frame"])
