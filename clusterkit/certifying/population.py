"""The labels that a certificate is about, and the random order in which their units are drawn."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.errors import DataError
from clusterkit.methods.nested_sets import NestedSets, nested_sets

# A label that is somebody's already, or none at all, is not to be certified.
_LEFT_OUT = ("duplicate", "failed")


@dataclass(frozen=True)
class Population:
    """The distinct images of a batch that have a label of the model, N of them.

    Attributes
    ----------
    rows : (N,) int
        Position of each image in the table, the first where it is there twice.
    table : DataFrame (N)
        Those rows: image, image_id, predicted_label, confidence, group.
    novel : (N,) bool
        Called novel by the model.
    unit : (N,) int
        Of each image, the place of its unit in the drawn order, from 0.
    units : int
    fingerprint : str
        64 hex digits that name all labels and confidences.
    """

    rows: np.ndarray
    table: pd.DataFrame
    novel: np.ndarray
    unit: np.ndarray
    units: int
    fingerprint: str

    def __len__(self) -> int:
        return len(self.rows)

    def nested_sets(self, max_error: float) -> NestedSets:
        """Return the sets that are certified one after the other."""
        confidence = self.table["confidence"].to_numpy(dtype=float)
        return nested_sets(confidence, max_error, self.novel)


def population_of(table: pd.DataFrame, by: str, seed: int, version: int = 1) -> Population:
    """Find what can be certified in a table of assignments, and draw its order.

    The order is that of the SHA-256 digests of seed, fingerprint and unit, which nobody can choose:
    another label anywhere in the batch gives another order. Anybody can compute it again, in any
    language.

    Parameters
    ----------
    table : DataFrame
        With the columns of `assignments.csv`, as `assign` wrote it.
    by : {"image", "group"}
        What a unit is. An image without a group is a unit of its own.
    seed : int
    version : int
        Of the plan: each draws an order of its own.

    Raises
    ------
    DataError
        There is no such image, or `by` is group and no image has one.
    """
    usable = ~table["status"].isin(_LEFT_OUT) & (table["image_id"] != "")
    usable &= (table["predicted_label"] != "") & table["confidence"].notna()
    usable &= ~table["image_id"].duplicated()
    rows = np.flatnonzero(usable.to_numpy())
    if not len(rows):
        raise DataError("there is no label to certify: no image was read that is not a copy of a "
                        "labelled one")  # fmt: skip
    columns = ["image", "image_id", "predicted_label", "confidence", "group"]
    part = table[columns].iloc[rows].reset_index(drop=True)
    novel = (table["status"].iloc[rows] == "novel").to_numpy()
    names = "image " + part["image_id"]
    if by == "group":
        if not (part["group"] != "").any():
            raise DataError("--by group needs a group, such as a patient, for the images; they "
                            "have none: assign from a CSV with a column group")  # fmt: skip
        names = names.where(part["group"] == "", "group " + part["group"])
    fingerprint = _fingerprint(part, novel)
    unit, units = _drawn(names.tolist(), _start(seed, fingerprint, version))
    return Population(rows, part, novel, unit, units, fingerprint)


def _start(seed: int, fingerprint: str, version: int) -> str:
    return f"{seed}\n{fingerprint}\n" + (f"version {version}\n" if version > 1 else "")


def _fingerprint(part: pd.DataFrame, novel: np.ndarray) -> str:
    columns = [part[name].tolist()
               for name in ("image_id", "predicted_label", "confidence", "group")]  # fmt: skip
    lines = [
        f"{identity}\t{label}\t{confidence:.6f}\t{group}\t{unlike:d}\n"
        for identity, label, confidence, group, unlike in zip(*columns, novel.tolist(), strict=True)
    ]
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()


def _drawn(names: list[str], start: str) -> tuple[np.ndarray, int]:
    """Return the place of each name in the drawn order, and how many different ones there are."""
    begun = hashlib.sha256(start.encode())
    unique, digests = list(dict.fromkeys(names)), []
    for name in unique:
        own = begun.copy()
        own.update(name.encode("utf-8", "surrogatepass"))
        digests.append(own.digest())
    # A digest as four numbers, the first the most significant: sorted as its bytes are.
    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 4)
    places = np.empty(len(unique), dtype=int)
    places[np.lexsort(words.T[::-1])] = np.arange(len(unique))
    if len(unique) == len(names):
        return places, len(unique)
    place_of = dict(zip(unique, places.tolist(), strict=True))
    return np.array([place_of[name] for name in names]), len(unique)
