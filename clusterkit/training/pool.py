"""The pool: unlabelled images that `fit` may learn from."""

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.duplicates.index import match
from clusterkit.data.frames import files_of
from clusterkit.data.labelled import Labelled
from clusterkit.data.loading import ImageRef, image_refs, read_signatures


def choose_pool(manifest: pd.DataFrame, data: Labelled, config: Config) -> list[ImageRef]:
    """Return refs of the images of `pool_rows`."""
    return image_refs(pool_rows(manifest, data, config))


def pool_rows(manifest: pd.DataFrame, data: Labelled, config: Config) -> pd.DataFrame:
    """Return rows of unlabelled images that are no copies of labelled ones nor of their groups.

    A held-out patient must not be helped by unlabelled images of their own: a new patient has
    none, and what is measured on the one is promised for the other.

    Parameters
    ----------
    manifest : DataFrame
        As `apply_reviews` gives it, with `provenance`; where features are given, with `vector`.
    data : Labelled
    config : Config
        `train.pool` is the most images; of more, a random sample is taken.
    """
    rows = manifest[manifest["label"].isna() & (manifest["image_id"] != "")]
    # What a person refused a label for must not get one from self-training.
    rows = rows[rows["provenance"] != "rejected"]
    # Frames of a labelled file are of its patient too, whether or not that is known.
    files, known = (files_of(r["image_id"]) for r in (rows, data.rows))
    rows = rows[~files.isin(known)].drop_duplicates("image_id")
    rows = rows[rows["group"].isna() | ~rows["group"].isin(data.rows["group"].dropna())]
    if "vector" in rows:
        rows = rows[rows["vector"].astype(int) >= 0]
    most = config.train.pool
    if len(rows) > most:
        chosen = np.random.default_rng(config.seed).choice(len(rows), most, replace=False)
        rows = rows.iloc[np.sort(chosen)]
    if rows.empty:
        return rows
    near, _ = match(read_signatures(image_refs(rows), config.image), data.signatures)
    return rows[near < 0]
