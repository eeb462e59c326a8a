"""Labels: the one place where what a person wrote becomes the name of a class."""

import logging

import pandas as pd

from clusterkit.data.several_labels import several_labels
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")


def check_labels(manifest: pd.DataFrame, max_classes: int) -> list[str]:
    """Classes of a manifest, sorted.

    Raises
    ------
    DataError
        No image is labelled, there is one class only or more than `max_classes`, or a label is
        several (see `several_labels`).
    """
    counts = manifest["label"].dropna().value_counts().sort_index()
    if not len(counts):
        raise DataError("no image has a label; fill the label column or use class folders")
    if len(counts) == 1:
        raise DataError(f"all {counts.iloc[0]} labels are '{counts.index[0]}'; at least two "
                        "classes are needed to tell them apart")  # fmt: skip
    if len(counts) > max_classes:
        raise DataError(f"{len(counts)} classes are more than max_classes = {max_classes}; is "
                        f"'{counts.index[0]}' a label? if so, raise --max-classes")  # fmt: skip
    several = several_labels(counts.index)
    if several:
        raise DataError(several)
    single = counts[counts == 1].index.tolist()
    if single:
        log.warning("%d classes have one labelled image only, e.g. '%s': they are never held "
                    "out, so nothing is known of their errors", len(single), single[0])  # fmt: skip
    return counts.index.tolist()
