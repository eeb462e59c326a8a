"""Labelled images, decoded once, with labels and units."""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.appearance import APPEARANCE
from clusterkit.data.cache import room_for_images
from clusterkit.data.duplicates.grouping import near_chains
from clusterkit.data.duplicates.index import near_pairs
from clusterkit.data.duplicates.signature import SIGNATURE
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.features.vector_lookup import GivenVectors
from clusterkit.data.frames import names_of
from clusterkit.data.labels import check_labels
from clusterkit.data.loading import image_refs, load_batches, workers_for
from clusterkit.data.splits import choose_units
from clusterkit.errors import DataError, shown
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

_BATCH = 32


@dataclass
class Labelled:
    """N labelled images.

    Attributes
    ----------
    rows : DataFrame (N)
        Rows of the manifest, and a column `near`: a number per set of near duplicates, or -1.
    images : (N, S, S, 3) uint8
        In memory, or beyond `config.train.cache_mb` mapped to a temporary file. Empty where
        features are given.
    labels : (N,) int
        Index into `classes`.
    units : (N,) int
        Images of one unit stay together in every split: see `choose_units`.
    classes : list of str
        Sorted.
    signatures : (N, SIGNATURE) int8
        By which near duplicates are found; empty where no images are compared.
    within_groups : bool
        Groups are on both sides of a split, as no whole ones can be held out; see `choose_units`.
    appearance : (N, 27) float32
        See `measure_appearance`; (N, 0) where images are not there and features are.
    without_pictures : int
        Images that have features and cannot be read.
    """

    rows: pd.DataFrame
    images: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    classes: list[str]
    signatures: np.ndarray = field(default_factory=lambda: np.zeros((0, SIGNATURE), dtype=np.int8))
    within_groups: bool = False
    appearance: np.ndarray = field(default_factory=lambda: np.zeros((0, APPEARANCE), np.float32))
    without_pictures: int = 0

    @property
    def checked(self) -> np.ndarray:
        """(N,) bool: somebody labelled the image itself, and not a cluster that it is in."""
        return ~named_with_cluster(self.rows)

    @property
    def trust(self) -> np.ndarray:
        """Probability (N,) in (0, 1] that the label is right, as far as reviews tell; else 1."""
        if "trust" not in self.rows:
            return np.ones(len(self.labels))
        return self.rows["trust"].to_numpy(dtype=float)

    def take(self, kept: np.ndarray) -> "Labelled":
        """Return the images of a mask (N,) bool; a class without images is gone."""
        rows = self.rows[kept].reset_index(drop=True)
        classes = sorted(rows["label"].unique())
        labels = rows["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
        own = kept if len(self.images) else slice(0, 0)
        # Numbers without gaps: what a run keeps of them is checked against its images.
        units = np.unique(self.units[kept], return_inverse=True)[1]
        return replace(
            self, rows=rows, images=self.images[own], labels=labels, units=units,
            classes=classes, signatures=self.signatures[kept], appearance=self.appearance[kept],
        )  # fmt: skip

    @property
    def prior(self) -> np.ndarray:
        """Proportions (K,) of the classes among the labels."""
        return np.bincount(self.labels, minlength=len(self.classes)) / len(self.labels)


def named_with_cluster(rows: pd.DataFrame) -> np.ndarray:
    """Return (N,) bool: a whole cluster was named, and nobody looked at the image itself."""
    if "provenance" not in rows:
        return np.zeros(len(rows), dtype=bool)
    return rows["provenance"].astype(str).str.startswith("cluster:").to_numpy(dtype=bool)


def load_labelled(
    manifest: pd.DataFrame,
    config: Config,
    progress: Progress,
    features: FeatureTable | None = None,
) -> Labelled:
    """Decode the labelled rows of a manifest; unreadable ones are left out with a warning.

    Parameters
    ----------
    manifest : DataFrame
        With `features`, its column `vector` says which row of the table is an image's.
    features : FeatureTable or None
        Given: pixels are read for duplicates and appearance, and not kept. An image that has
        features and cannot be read is not left out.

    Raises
    ------
    DataError
        The readable images have fewer than two classes.
    """
    rows = manifest[manifest["label"].notna()].reset_index(drop=True)
    kept = 0 if features is not None else len(rows)
    images = room_for_images(kept, config.image.pixels, config.train.cache_mb)
    errors = np.empty(len(rows), dtype=object)
    signatures = np.zeros((len(rows), SIGNATURE), dtype=np.int8)
    appearance = np.zeros((len(rows), APPEARANCE), dtype=np.float32)
    given = None if features is None else GivenVectors(features, rows["vector"].to_numpy(int))
    refs, count = image_refs(rows), 0
    read = load_batches if given is None else given.batches
    for batch in read(refs, config.image, _BATCH, workers_for(refs)):
        part = slice(batch.number * _BATCH, batch.number * _BATCH + len(batch.ids))
        errors[part], signatures[part] = batch.errors, batch.signatures
        appearance[part] = batch.appearance
        if given is None:
            # Written without gaps: leaving images out afterwards would take a second copy of all.
            readable = batch.images[batch.errors == ""]
            images[count : count + len(readable)] = readable
            count += len(readable)
        progress("read", part.stop, len(rows))
    bad = errors != ""
    if bad.any():
        _report_unreadable(rows, errors)
    rows, signatures, appearance = (
        rows[~bad].reset_index(drop=True),
        signatures[~bad],
        appearance[~bad],
    )
    # All that verified pairs connect stays together: a chain must not cross a split either.
    rows["near"] = near_chains(len(rows), near_pairs(signatures))
    _warn_of_near(rows)
    classes = check_labels(rows, config.data.max_classes)
    labels = rows["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    units, within_groups = choose_units(rows)
    unseen = int(np.isnan(appearance).any(axis=1).sum())
    return Labelled(rows, images[:count], labels, units, classes, signatures, within_groups,
                    appearance[:, :0] if unseen else appearance, unseen)  # fmt: skip


def _report_unreadable(rows: pd.DataFrame, errors: np.ndarray) -> None:
    """Warn of labelled images that cannot be read, and of classes that are lost by it.

    Raises
    ------
    DataError
        So few classes are left that nothing can be learned.
    """
    bad = errors != ""
    labels = rows["label"][~bad].unique()
    lost = rows[bad & ~rows["label"].isin(labels)]
    number = int(np.flatnonzero(bad)[0] if lost.empty else lost.index[0])
    example = f"e.g. '{shown(rows['image'][number], 200)}': {errors[number]}"
    if not len(labels):
        raise DataError(f"none of the {len(rows)} labelled images can be read, {example}")
    if len(labels) == 1 and not lost.empty:
        raise DataError(
            f"only images of '{labels[0]}' can be read: {len(lost)} labelled images of "
            f"{lost['label'].nunique()} other classes cannot, {example}"
        )
    log.warning("%d labelled images are left out, %s", bad.sum(), example)
    for label, images in lost.groupby("label"):
        log.warning("class '%s' is left out: none of its %d labelled images can be read", label,
                    len(images))  # fmt: skip


def _warn_of_near(rows: pd.DataFrame) -> None:
    # Neighbouring slices of one patient are alike, and the finding may begin between them.
    near = rows[(rows["near"] >= 0)]
    near = near[near.groupby("near")["group"].transform("nunique") != 1]
    several = near.groupby("near")["label"].nunique()
    for number in several.index[several > 1][:1]:
        pair = near[near["near"] == number].drop_duplicates("label")
        (first, second), (one, other) = names_of(pair)[:2], pair["label"].iloc[:2]
        log.warning(
            "%d sets of near duplicates have different labels, e.g. '%s' (%s) and '%s' (%s): one "
            "is wrong; `clusterkit inspect` shows them all", (several > 1).sum(), first, one,
            second, other,
        )  # fmt: skip
