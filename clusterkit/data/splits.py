"""Splits into folds that keep groups whole: a patient is never on both sides, if it can be."""

import logging
import warnings

import numpy as np
import pandas as pd

from clusterkit.data.frames import files_of
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")

# With one class, nothing is measured of how classes are told apart.
_LEAST_CLASSES = 2

NOTHING_TO_HOLD_OUT = (
    "no image can be held out to measure errors: each is the last of its class, or of a file or a "
    "set of near duplicates that holds all images of a class; label more images"
)


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
    # Rows of a larger table have numbers beyond their own count.
    near = np.where(near >= 0, np.unique(near, return_inverse=True)[1], -1)
    # Where labels are read, nothing is split: these take a second to import.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

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


def take_out_test(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that may be learned from, and the labelled rows of the split ``test``, which may not.

    Unlabelled test rows are among neither. Nor are unlabelled images of the test images' files and
    groups: a new patient's images are not in the pool either.

    Parameters
    ----------
    manifest : DataFrame
        As `read_manifest` gives it.

    Raises
    ------
    DataError
        All labelled images are test images.
    """
    asked = manifest["split"] == "test"
    test = manifest[asked & manifest["label"].notna()].reset_index(drop=True)
    if not asked.any():
        return manifest, test
    read = manifest["image_id"] != ""
    files = files_of(manifest["image_id"])
    near = read & files.isin(files[asked & read])
    near |= manifest["group"].isin(manifest["group"][asked].dropna())
    learned = manifest[~asked & (manifest["label"].notna() | ~near)].reset_index(drop=True)
    if len(test) and learned["label"].isna().all():
        raise DataError("all labelled images are of the split 'test', which is kept out of "
                        "training; label others, or mark some as train")  # fmt: skip
    return learned, test


def choose_units(manifest: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Units (N,) that splits of labelled images keep whole, and whether groups are torn apart.

    They are those of `units_of`, unless holding out whole groups would measure fewer than two
    classes, and holding out images more: labels of one patient only, or each class from a patient
    of its own. Then a group is no unit: its images are on both sides, and what is measured is about
    these groups alone. Copies, frames of one file and near duplicates stay together in any case.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows; see `units_of`. What the column split holds out is held out as it is.
    """
    units = units_of(manifest)
    if given_valid(manifest, units).any():
        return units, False
    labels = manifest["label"].to_numpy()
    by_group = measurable_classes(units, labels)
    if len(by_group) >= _LEAST_CLASSES:
        return units, False
    apart = units_of(manifest.assign(group=None))
    within = len(measurable_classes(apart, labels)) > len(by_group)
    return (apart, True) if within else (units, False)


def measurable_classes(units: np.ndarray, labels: np.ndarray) -> set[str]:
    """Classes that have a unit which can be held out: none of its classes is in it alone.

    Parameters
    ----------
    units : (N,) int
    labels : (N,) str
    """
    table = pd.DataFrame({"unit": units, "label": labels})
    n_units = table.groupby("label")["unit"].nunique()
    only_here = table["label"].isin(n_units.index[n_units == 1])
    kept = set(table["unit"][only_here])
    return set(table["label"][~table["unit"].isin(kept)])


def why_within_groups(manifest: pd.DataFrame) -> str:
    """Reason in words why the groups of a manifest could not be held out whole.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows: columns label and group; "" and None are no group.
    """
    known = manifest[manifest["group"].notna() & (manifest["group"] != "")]
    if known["group"].nunique() == 1:
        return "all labels are of one group (patient)"
    if (known.groupby("label")["group"].nunique() == 1).all():
        return (
            f"each class is of one group (patient) alone, so that a difference between patients "
            f"passes for one between the {manifest['label'].nunique()} classes"
        )
    return "holding out whole groups (patients) would leave fewer than two classes to measure"


def make_folds(
    manifest: pd.DataFrame, n_folds: int, seed: int, units: np.ndarray | None = None
) -> np.ndarray:
    """Fold numbers of labelled images, stratified by label, units kept whole.

    The same for the same seed and data, in whatever order the rows come.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows.
    n_folds : int ≥ 2
        Lowered where there are fewer units than folds.
    seed : int
    units : (N,) int or None
        What is kept whole; None: see `units_of`.

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
    units = units_of(ranked) if units is None else pd.factorize(units[order])[0]
    n_units = len(np.unique(units))
    if n_units < 2:
        raise DataError(NOTHING_TO_HOLD_OUT)
    n_folds = min(n_folds, n_units)
    from sklearn.model_selection import StratifiedGroupKFold

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


def given_valid(manifest: pd.DataFrame, units: np.ndarray, warn: bool = False) -> np.ndarray:
    """Rows (N,) bool that the column split holds out, and of which something can be measured.

    Not those with a copy that trains, nor those whose class would have no training image: they
    train too.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows.
    units : (N,) int
    warn : bool
        Say which rows train against the column.
    """
    asked = (manifest["split"] == "valid").to_numpy()
    valid = asked & ~np.isin(units, units[~asked])
    _say_trained(manifest, asked & ~valid, warn, "share their group, file or picture with "
                 "training images")  # fmt: skip
    kept = _without_last(valid, manifest["label"].to_numpy(), units)
    _say_trained(manifest, valid & ~kept, warn, "are of a class that has no training image, or of "
                 "the group of one")  # fmt: skip
    return kept


def split_labelled(
    manifest: pd.DataFrame, valid_fraction: float, seed: int, units: np.ndarray | None = None
) -> np.ndarray:
    """Held-out rows (N,) bool of a single split of labelled images.

    What a column `split` holds out is taken as it is, see `given_valid`. Without that about
    `valid_fraction` of the images are held out; units that hold the last images of a class go
    back to training.

    Parameters
    ----------
    manifest : DataFrame
        Labelled rows.
    valid_fraction : float in (0, 1)
    seed : int
    units : (N,) int or None
        What is kept whole; None: see `units_of`.

    Raises
    ------
    DataError
        Nothing can be held out.
    """
    units = units_of(manifest) if units is None else units
    valid = given_valid(manifest, units, warn=True)
    if valid.any():
        return valid
    folds, labels = make_folds(manifest, round(1 / valid_fraction), seed, units), manifest["label"]
    # One unit after the other where no part can be held out as it is.
    for parts in (folds, pd.factorize(units)[0]):
        for part in range(parts.max() + 1):
            valid = _without_last(parts == part, labels.to_numpy(), units)
            if valid.any():
                return valid
    raise DataError(NOTHING_TO_HOLD_OUT)


def _without_last(valid: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Held-out rows (N,) bool less the units that hold the last images of a class."""
    valid = valid.copy()
    for label in sorted(set(labels[valid])):
        rows = labels == label
        if valid[rows].all():
            valid[np.isin(units, units[rows])] = False
    return valid


def _say_trained(manifest: pd.DataFrame, rows: np.ndarray, warn: bool, why: str) -> None:
    if warn and rows.any():
        log.warning("%d images that the split column holds out %s, e.g. '%s': they train too, as "
                    "nothing could be measured on them", rows.sum(), why,
                    manifest["image"].to_numpy()[rows][0])  # fmt: skip
