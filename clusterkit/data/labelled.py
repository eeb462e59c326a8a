"""The labelled images in memory, decoded once."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.loading import load_batches, places_of
from clusterkit.data.manifest import check_labels
from clusterkit.data.splits import units_of

log = logging.getLogger("clusterkit")

_BATCH = 32


@dataclass
class Labelled:
    """N labelled images.

    Attributes
    ----------
    rows : DataFrame (N)
        Their rows of the manifest.
    images : (N, S, S, 3) uint8
    labels : (N,) int
        Index into `classes`.
    units : (N,) int
        What must stay together: see `units_of`.
    classes : list of str
    """

    rows: pd.DataFrame
    images: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    classes: list[str]

    @property
    def prior(self) -> np.ndarray:
        """(K,) float: how often each class is among the labels."""
        return np.bincount(self.labels, minlength=len(self.classes)) / len(self.labels)


def load_labelled(
    manifest: pd.DataFrame, config: Config, report: Callable[[str, int, int], None]
) -> Labelled:
    """Decode the labelled rows of a manifest; unreadable ones are left out with a warning.

    Raises
    ------
    DataError
        What is left has fewer than two classes.
    """
    rows = manifest[manifest["label"].notna()].reset_index(drop=True)
    size = config.image.size
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    errors = np.empty(len(rows), dtype=object)
    workers = 0 if len(rows) < 200 else min(os.cpu_count() or 1, 8)
    for batch in load_batches(places_of(rows), config.image, _BATCH, workers):
        place = slice(batch.number * _BATCH, batch.number * _BATCH + len(batch.ids))
        images[place], errors[place] = batch.images, batch.errors
        report("read", place.stop, len(rows))
    bad = errors != ""
    if bad.any():
        first = np.flatnonzero(bad)[0]
        log.warning("%d labelled images are left out, e.g. %s: %s", bad.sum(),
                    rows["image"][first], errors[first])  # fmt: skip
    rows = rows[~bad].reset_index(drop=True)
    classes = check_labels(rows, config.data.max_classes)
    labels = rows["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    return Labelled(rows, images[~bad], labels, units_of(rows), classes)
