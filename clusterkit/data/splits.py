"""Splits into folds that keep groups whole: a patient is never on both sides."""

import logging
import warnings

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from clusterkit.data.frames import files_of
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")


def units_of(manifest: pd.DataFrame) -> np.ndarray:
    """Unit numbers (N,) of a manifest's rows; rows of one unit stay together in every split.

    A group is one unit, and so are byte-identical images, frames of one file, near duplicates,
    and all that these connect. An image without a group is a unit of its own.

    Parameters
    ----------
    manifest : DataFrame
        Columns image_id, group, and optionally near: a number per set of near duplicates, -1:
        none.
    """
    n = len(manifest)
    files = pd.factorize(files_of(manifest["image_id"]))[0]
    named = pd.factorize(manifest["group"].where(manifest["group"].notna(), None))[0]
    near = manifest["near"].to_numpy() if "near" in manifest else np.full(n, -1)
    # Images are nodes 0 … n-1; each file, group and set of near duplicates is a node above them.
    ends = [(np.arange(n), n + files)]
    for offset, numbers in ((2 * n, named), (3 * n, near)):
        known = np.flatnonzero(numbers >= 0)
        ends.append((known, offset + numbers[known]))
    rows, columns = (np.concatenate(side) for side in zip(*ends, strict=True))
    size = 4 * n + 1
    edges = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][:n]
    return pd.factorize(component)[0]


def make_folds(manifest: pd.DataFrame, n_folds: int, seed: int) -> np.ndarray:
    """Fold numbers of labelled images, stratified by label, units kept whole.

    The same for the same seed and data, in whatever order the rows come.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows.
    n_folds : int ≥ 2
        Lowered where there are fewer units than folds.
    seed : int

    Returns
    -------
    (N,) int in [0, n_folds)
        There may be fewer folds than `n_folds`.

    Raises
    ------
    DataError
        All images are of one unit: nothing can be held out.
    """
    order = np.lexsort([manifest["image_id"].astype(str), manifest["image"].astype(str)])
    ranked = manifest.iloc[order]
    units = units_of(ranked)
    n_units = len(np.unique(units))
    if n_units < 2:
        raise DataError(
            "all labelled images belong to one group, so none can be held out to measure errors; "
            "label images of a second group (patient), or leave the group column out"
        )
    n_folds = min(n_folds, n_units)
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(manifest), dtype=int)
    with warnings.catch_warnings():
        # A class with fewer images than folds is held out in some of them only; that is fine.
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(splitter.split(order, ranked["label"], units))
        except ValueError:
            # scikit-learn refuses where every class is smaller than the number of folds.
            parts = [(None, np.flatnonzero(units % n_folds == f)) for f in range(n_folds)]
    for fold, (_, test) in enumerate(parts):
        folds[order[test]] = fold
    return folds


def _without_copies(manifest: pd.DataFrame, valid: np.ndarray) -> np.ndarray:
    """Held-out rows (N,) bool of the data's own split, less those with a copy that trains."""
    units = units_of(manifest)
    both = valid & np.isin(units, units[~valid])
    if both.all(where=valid):
        raise DataError("every 'valid' image of the split column shares its group, its file or its "
                        "picture with a training image; split the data anew")  # fmt: skip
    if both.any():
        log.warning("%d images that the split column holds out share their group, file or picture "
                    "with training images, e.g. '%s': they train too, as nothing could be measured "
                    "on them", both.sum(), manifest["image"].to_numpy()[both][0])  # fmt: skip
    return valid & ~both


def split_labelled(manifest: pd.DataFrame, valid_fraction: float, seed: int) -> np.ndarray:
    """Held-out rows (N,) bool of a single split of labelled images.

    A `split` column with values in it is taken as it is. Rows that it leaves empty train, and so
    do copies of training images. Without such a column about `valid_fraction` of the images are
    held out; units that hold the last images of a class go back to training.

    Raises
    ------
    DataError
        Nothing can be held out.
    """
    if manifest["split"].notna().any():
        valid = (manifest["split"] == "valid").to_numpy()
        if not valid.any():
            raise DataError("the split column has no 'valid' row; mark some or leave it empty")
        valid = _without_copies(manifest, valid)
        lost = set(manifest["label"]) - set(manifest["label"][~valid])
        if lost:
            raise DataError(f"class '{min(lost)}' has no training image in the split column")
        return valid
    valid = make_folds(manifest, round(1 / valid_fraction), seed) == 0
    units = units_of(manifest)
    for label in sorted(set(manifest["label"])):
        rows = (manifest["label"] == label).to_numpy()
        if valid[rows].all():
            valid[np.isin(units, units[rows])] = False
    if not valid.any():
        raise DataError(
            "no images can be held out: every group holds all images of some class; "
            "label images of more groups (patients)"
        )
    return valid
