"""Validation images for early stopping: never those that calibration measures on."""

import numpy as np

from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import make_folds

# A share of 1 / 8 of the training images is kept back.
_PARTS = 8

# With fewer units, or fewer images kept back, their loss is mostly chance.
_LEAST_UNITS = 10
_LEAST_IMAGES = 20


def keep_back(data: Labelled, rows: np.ndarray, seed: int) -> np.ndarray:
    """Choose training images for early stopping.

    About an eighth of `rows`, by whole units (patients), stratified by label. None where there
    are fewer than 10 units, where fewer than 20 images would be kept back, or where a class
    would have no image left to train on.

    Parameters
    ----------
    data : Labelled
    rows : (n,) int
        The images that may train.
    seed : int

    Returns
    -------
    (n,) bool: True where kept back.
    """
    none = np.zeros(len(rows), dtype=bool)
    if len(np.unique(data.units[rows])) < _LEAST_UNITS or len(rows) < _LEAST_IMAGES * 2:
        return none
    kept = make_folds(data.rows.iloc[rows], _PARTS, seed, data.units[rows]) == 0
    lost = set(data.labels[rows]) - set(data.labels[rows[~kept]])
    return none if lost or kept.sum() < _LEAST_IMAGES else kept
