"""The pool: unlabelled images that `fit` may learn from."""

import hashlib
import json

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.duplicates.index import match
from clusterkit.data.frames import files_of
from clusterkit.data.labelled import Labelled
from clusterkit.data.loading import ImageRef, image_refs, read_signatures
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.models.forward import batch_for_threads
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.progress import StageProgress
from clusterkit.training.shards import embed_paths_shared


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


def embed_pool(
    networks: Networks,
    refs: list[ImageRef],
    config: Config,
    progress: StageProgress,
    journal: KeepsNothing,
) -> Embeddings | None:
    """Return features of the readable images of a pool; None: there are none.

    Parameters
    ----------
    networks : Networks
        With the encoder that training starts from, for both models.
    refs : list of (path, frame)
    config : Config
        With a device that is there.
    progress : callable
        Called with (done, total) in images.
    journal : KeepsNothing
        Keeps them, batch by batch.
    """
    if not refs:
        return None
    size = batch_for_threads()
    names = [_name_of(refs[i : i + size], networks.precision) for i in range(0, len(refs), size)]

    def keep(number: int, found: Embeddings | None) -> None:
        journal.keep(names[number], {} if found is None else {"features": found.classifier})

    known: dict[int, Embeddings | None] = {}
    for number, name in enumerate(names):
        if (piece := journal.load(name)) is not None:
            found = piece.tensors.get("features")
            known[number] = None if found is None else Embeddings(found, found)
    return embed_paths_shared(networks, refs, config.image, config.device, progress, known, keep)


def _name_of(refs: list[ImageRef], precision: str) -> str:
    """Return a name for the features of a batch; the journal's key knows what is in the files."""
    listed = json.dumps(refs).encode(errors="surrogatepass")
    return f"pool-{precision}-{hashlib.sha256(listed).hexdigest()[:16]}"
