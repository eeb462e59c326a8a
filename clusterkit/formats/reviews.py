"""`reviews.csv`: a person's decisions on images and clusters, read and checked."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from clusterkit.data.identity import text_id
from clusterkit.data.label_map import LabelMap
from clusterkit.data.labels import read_label, read_labels
from clusterkit.data.tables import one_column_note, read_table
from clusterkit.errors import DataError, nearest_name, shown
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text, table_text
from clusterkit.formats.fiftyone_dataset import is_fiftyone, read_fiftyone
from clusterkit.formats.known_images import Assigned, KnownImages
from clusterkit.formats.label_studio import (
    is_label_studio_csv,
    looks_like_json,
    read_label_studio,
)

REVIEW_COLUMNS = ("image_id", "image", "label", "decision", "reviewer", "time", "note")
# Not in every file: of which assignments a cluster's number is, and `yes` where the row is ground
# truth.
FURTHER_COLUMNS = ("assignments", "ground_truth")
DECISIONS = ("accept", "relabel", "reject", "skip")

_NEEDED = ("image_id", "label", "decision")
_CLUSTER = re.compile(r"cluster:([0-9]{1,9})")


class ReviewRow(NamedTuple):
    """One row of a reviews file.

    Attributes
    ----------
    image_id : str
        An image's id, or ``cluster:<n>``.
    image : str
        An image's name; "" where the row names none.
    label : str
    decision : str
        One of `DECISIONS`.
    assignments : str
        Fingerprint of the assignments whose cluster the row names; "": it does not say.
    line : int
        Number of the line or task in the file.
    where : str
        The file and the line, for messages.
    cluster : int or None
        Number of the cluster that the row names; None where it names an image.
    """

    image_id: str
    image: str
    label: str
    decision: str
    assignments: str
    line: int
    where: str
    cluster: int | None


@dataclass(frozen=True)
class Reviews:
    """One reviews file, each row spread over the images that it names.

    Rows that name one cluster by one fingerprint mean the same images.

    Attributes
    ----------
    where : str
        The file.
    rows : DataFrame
        `REVIEW_COLUMNS` and `FURTHER_COLUMNS` as they were written, and `line`, `where`,
        `cluster` (Int64).
    spread : DataFrame
        One row for each row about an image, and one for each image that is meant by a cluster's
        name, as its last row says: image_id, decision, label ("" for reject and skip), predicted
        ("" where nothing was), provenance, position (row of `assigned.table`; -1), row (of `rows`).
    assigned : Assigned or None
    """

    where: str
    rows: pd.DataFrame
    spread: pd.DataFrame
    assigned: Assigned | None

    def members(self, row: int) -> pd.DataFrame:
        """Return the part of `spread` about the images that a row means by its cluster."""
        of, rows = self.rows.iloc[row], self.spread["row"].to_numpy(dtype=int)
        same = self.rows["cluster"].eq(of["cluster"]) & (
            self.rows["assignments"] == of["assignments"]
        )
        return self.spread[same.fillna(False).to_numpy(dtype=bool)[rows]]


def read_reviews(path: Path | str, names: LabelMap | None = None) -> pd.DataFrame:
    """Read a reviews file and check all that can be checked without the run.

    Parameters
    ----------
    path : path
        CSV or TSV with `REVIEW_COLUMNS`; image, reviewer, time and note may be left out, and so
        may `FURTHER_COLUMNS`. Or what Label Studio exported, see
        `label_studio.read_label_studio`. Or ``fiftyone:NAME``, see `fiftyone_answers`.
    names : LabelMap or None
        Labels to be renamed.

    Returns
    -------
    DataFrame with `REVIEW_COLUMNS` and `FURTHER_COLUMNS` (str), `line` (int, the row's or task's
    number in the file), `where` (str, for messages) and `cluster` (Int64: the number where the
    row names a cluster).

    Raises
    ------
    DataError
        One line that names the file, the line, the value and what to do.
    """
    rows, numbers, unit = _read_any(path)
    rows["image_id"] = [text_id(v) for v in rows["image_id"]]
    rows["line"] = numbers
    rows["where"] = [f"{path}, {unit} {number}" for number in numbers]
    if unit == "sample":
        # Nobody counts samples in FiftyOne.
        rows["where"] += [f" ('{shown(image)}')" for image in rows["image"]]
    places = rows["where"].tolist()
    found_labels = read_labels(rows["label"], places.__getitem__, names)
    rows["label"] = pd.Series([label or "" for label in found_labels], dtype=object)
    cells = (rows[column].tolist() for column in ("image_id", "decision", "label", "where"))
    clusters = [_cluster_of(*row) for row in zip(*cells, strict=True)]
    rows["cluster"] = pd.array(clusters, dtype="Int64")
    return rows


def _read_any(path: Path | str) -> tuple[pd.DataFrame, list[int], str]:
    """Return the rows of a source, their numbers in it, and what is numbered."""
    columns = [*REVIEW_COLUMNS, *FURTHER_COLUMNS]
    if is_fiftyone(path):
        answers = read_fiftyone(str(path))
        table = pd.DataFrame(answers.rows, columns=columns, dtype=object).fillna("")
        return table, answers.places, "sample"
    path = Path(path)
    if not path.exists():
        raise DataError(f"reviews file {path} does not exist; check the path")
    if looks_like_json(path):
        found, numbers = read_label_studio(path)
        return pd.DataFrame(found, columns=columns, dtype=object).fillna(""), numbers, "task"
    return *_read_csv(path), "line"


def review_bytes(rows: pd.DataFrame) -> bytes:
    """Return rows as the content of a `reviews.csv`; further columns where a row has one."""
    further = [c for c in FURTHER_COLUMNS if c in rows and rows[c].any()]
    table = rows[[*REVIEW_COLUMNS, *further]].map(safe_csv_text)
    return table_text(table).encode("utf-8-sig")


def review_rows(rows: pd.DataFrame) -> list[ReviewRow]:
    """Return the rows of `read_reviews`, each as a record."""
    cells = {name: rows[name].tolist() for name in ReviewRow._fields}
    cells["cluster"] = [None if pd.isna(number) else number for number in cells["cluster"]]
    return [ReviewRow(*row) for row in zip(*cells.values(), strict=True)]


def _read_csv(path: Path) -> tuple[pd.DataFrame, list[int]]:
    if path.suffix.lower() == ".zip":
        raise DataError(f"{path} is a ZIP archive, as Label Studio packs COCO, YOLO and others; "
                        "export the project as JSON")  # fmt: skip
    names, lines, numbers = read_table(path, wanted=REVIEW_COLUMNS)
    if is_label_studio_csv(names) and "decision" not in names:
        raise DataError(f"{path} is what Label Studio exports as CSV or TSV, without its skipped "
                        "annotations and ground truth; export the project as JSON")  # fmt: skip
    for column in _NEEDED:
        if column not in names:
            raise DataError(
                f"{path} has no column '{column}'{nearest_name(column, names)}; reviews need "
                f"{', '.join(_NEEDED)}, it has {', '.join(names[:12])[:200]}"
                + one_column_note(names)
            )
    columns = [*REVIEW_COLUMNS, *FURTHER_COLUMNS]
    repeated = [c for c in columns if names.count(c) > 1]
    if repeated:
        raise DataError(f"{path} has two columns '{repeated[0]}'; keep one")
    cells = {name: [line[i] for line in lines] for i, name in enumerate(names)}
    blank = [""] * len(lines)
    rows = pd.DataFrame(
        {c: [restore_csv_text(v.lstrip()).strip() for v in cells.get(c, blank)] for c in columns},
        dtype=object,
    )
    rows["decision"] = rows["decision"].str.lower()
    return rows, numbers


def spread_reviews(
    path: Path | str,
    assigned: Assigned | None,
    labelled: pd.DataFrame,
    names: LabelMap | None = None,
) -> Reviews:
    """Read a reviews file and find the images that its rows name.

    Parameters
    ----------
    path : path
    assigned : Assigned or None
        None: clusters and predictions are not known, only labelled images can be named.
    labelled : DataFrame
        image_id and label of the images that are known without `assigned`.
    names : LabelMap or None
        Labels to be renamed, of the reviews and of what was predicted.

    Raises
    ------
    DataError
        Of `read_reviews`; or a row names an image or a cluster that is not there, or accepts a
        prediction where there is none.
    """
    names = LabelMap() if names is None else names
    rows = read_reviews(path, names)
    known = KnownImages(assigned, labelled)
    # A cluster is spread once; spreading each row would let a small file fill the memory.
    last = {(row.cluster, row.assignments): i for i, row in enumerate(review_rows(rows))}
    out = []
    for number, row in enumerate(review_rows(rows)):
        where = row.where
        if row.cluster is None:
            positions, provenance = known.image(row.image_id, where), "reviewed"
        else:
            positions = known.cluster(row.cluster, row.image, row.assignments, where)
            provenance = f"cluster:{row.cluster}"
            if number != last[row.cluster, row.assignments]:
                continue
        for image_id, position in positions:
            predicted = names.renamed([known.predicted(image_id, position)])[0] or ""
            label = row.label if row.decision in ("accept", "relabel") else ""
            if row.decision == "accept" and not label:
                label = read_label(predicted, where)
                if not label:
                    raise DataError(
                        f"{where}: image '{image_id}' has no predicted label to accept; write "
                        "relabel and the label, or skip"
                    )
                _check_label(label, where)
            out.append((image_id, row.decision, label, predicted, provenance, position,
                        number))  # fmt: skip
    columns = ["image_id", "decision", "label", "predicted", "provenance", "position", "row"]
    return Reviews(str(path), rows, pd.DataFrame(out, columns=columns), assigned)


def _cluster_of(image_id: str, decision: str, label: str, where: str) -> int | None:
    """Check one row by itself; returns the number of the cluster that it names."""
    if not image_id:
        raise DataError(f"{where}: no image_id; copy it from assignments.csv, or write cluster:3 "
                        "for the images of cluster 3")  # fmt: skip
    if decision not in DECISIONS:
        near = nearest_name(decision, DECISIONS)
        raise DataError(f"{where}: decision '{shown(decision)}'{near} is not allowed; use "
                        f"{', '.join(DECISIONS)}")  # fmt: skip
    if decision == "relabel" and not label:
        raise DataError(f"{where}: relabel without a label; write the true label, or reject if it "
                        "is not known")  # fmt: skip
    _check_label(label, where)
    if not image_id.startswith("cluster:"):
        return None
    match = _CLUSTER.fullmatch(image_id)
    if not match:
        raise DataError(f"{where}: '{shown(image_id)}' names no cluster; write cluster: and "
                        "a number, e.g. cluster:3")  # fmt: skip
    return int(match[1])


def _check_label(label: str, where: str) -> None:
    if "|" in label:
        raise DataError(f"{where}: label '{shown(label)}' holds '|', which separates labels in "
                        "assignments.csv; use another character")  # fmt: skip
