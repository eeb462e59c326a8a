"""Splits that keep groups whole: a patient is never on both sides."""

import logging
import warnings

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from clusterkit.data.contents import files_of
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")


def units_of(manifest: pd.DataFrame) -> np.ndarray:
    """Number what must stay together: (N,) int.

    A group is one unit, and so are byte-identical images, frames of one file, near duplicates
    (column `near`, a number for each set of them, -1: none; may be missing), and whatever these
    connect. An image without a group stands for itself.
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
    """Deal labelled images into folds, stratified by label, units kept whole.

    The same for the same seed and data, whatever order the rows come in.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows.
    n_folds : int ≥ 2
        Lowered where there are fewer units than folds.

    Returns
    -------
    (N,) int in [0, n_folds). Fold numbers may be fewer than asked for.

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
    """Let what is held out in the data's own split train where its copy trains."""
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
    """Split labelled images once; (N,) bool, True where held out for validation.

    A `split` column with values in it is taken as it is, and what it leaves open trains; so do
    copies of training images.
    Else about `valid_fraction` of the images are held out; whatever holds the last images of a
    class goes back to training.

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
