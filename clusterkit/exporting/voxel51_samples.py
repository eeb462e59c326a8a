"""What FiftyOne is told of each image, in plain values: of the rows, and of the labelled images."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clusterkit.data.frames import name_of, names_of
from clusterkit.errors import DataError
from clusterkit.exporting.export_rows import ExportRow
from clusterkit.exporting.output_folder import Names
from clusterkit.exporting.selection import ANSWERED, ExportBatch, state_of
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.fiftyone_answers import EARLIER

LABELLED = "labelled"

# Tags that export sets and takes away; all others are a person's.
OWN_TAGS = (*STATUSES, LABELLED, EARLIER)

# Fields that export writes beside the labels and the embedding, and their types.
FIELDS: dict[str, type] = {
    "image_id": str, "image_name": str, "group": str, "reason": str, "cluster": int, "order": int,
    "label_set": list, "similarity": float, "novelty_p": float, "nearest_image": str,
    "nearest_label": str, "nearest_similarity": float, "duplicate_of": str, "provenance": str,
}  # fmt: skip


@dataclass(frozen=True)
class SampleToWrite:
    """One image.

    Attributes
    ----------
    path : str
        The file that FiftyOne shows.
    source : str
        The image's own file.
    frame : int
        Which of the file's images it is; -1: the file holds one.
    tags : tuple of str
        Of `OWN_TAGS`.
    predicted : str
        "" where nothing is handed on as an answer.
    confidence : float or None
    known : str
        Label of a labelled image, or what a person answered; "" of others.
    values : dict
        Of `FIELDS`, those that have a value.
    """

    path: str
    source: str
    frame: int
    tags: tuple[str, ...]
    predicted: str = ""
    confidence: float | None = None
    known: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Id and name of the image: two files may hold the same bytes."""
        return self.values["image_id"], self.values["image_name"]


def sample_of(row: ExportRow, path: str) -> SampleToWrite:
    """Return what a row of the assignments says; `path` is the file to show."""
    frame = str(row.frame) if row.frame >= 0 else None
    # An empty text would be a value of its own in the sidebar's filters.
    values = {name: getattr(row, name, None) for name in FIELDS}
    values["image_name"] = name_of(row.image, frame)
    values["label_set"] = row.label_set.split("|") if row.label_set else None
    # A person's answer is the truth, and no prediction that is to be compared with it.
    answered = row.status in ANSWERED and row.status != "reviewed"
    return SampleToWrite(
        path=path,
        source=os.path.abspath(row.path),
        frame=row.frame,
        tags=(row.status,),
        predicted=row.predicted_label if answered else "",
        confidence=row.confidence if answered else None,
        known=row.predicted_label if row.status == "reviewed" else "",
        values={k: v for k, v in values.items() if v not in (None, "")},
    )


def row_samples(
    batch: ExportBatch, folder: Path, out: Path, copy: bool, names: Names
) -> list[SampleToWrite]:
    """Return the samples of a batch's rows; pictures are written into `folder`.

    Rows whose image cannot be read are taken out of the batch.
    """
    out_samples, lost = [], []
    for number, row in enumerate(batch.rows, 1):
        path: str | None = os.path.abspath(row.path)
        if copy or row.frame >= 0:
            file = batch.write_picture(row, folder, names)
            path = os.path.abspath(out / file) if file is not None else None
        if path is not None:
            out_samples.append(sample_of(row, path))
        else:
            lost.append(number - 1)
        batch.report(number)
    batch.rows = batch.rows.without(lost)
    return out_samples


def with_labelled(
    samples: list[SampleToWrite], batch: ExportBatch, folder: Path, out: Path, copy: bool,
    names: Names,
) -> list[SampleToWrite]:  # fmt: skip
    """Add the run's labelled images, as far as their files are there.

    An image that is among the samples already is told its label there.
    """
    places = {(os.path.realpath(s.source), s.frame): i for i, s in enumerate(samples)}
    out_samples, table = list(samples), batch.run.manifest
    names_there = names_of(table).tolist()
    cells = (table[c].tolist() for c in ("image_id", "label", "group", "frame", "provenance"))
    for name, image_id, label, group, frame, origin in zip(names_there, *cells, strict=True):
        if not label:
            continue
        number = int(frame) if isinstance(frame, str) and frame else -1
        try:
            path = batch.run.find_image(name)
            state = state_of(path, image_id)
        except DataError:
            state = "image missing"
        if state:
            batch.left_out[f"labelled {state}"] += 1
            continue
        place = places.get((os.path.realpath(path), number))
        if place is not None:
            there = out_samples[place]
            out_samples[place] = replace(there, known=label, tags=(*there.tags, LABELLED))
            continue
        source = os.path.abspath(path)
        row = {"image_id": image_id, "image_name": name, "group": group, "provenance": origin}
        values = {k: v for k, v in row.items() if isinstance(v, str) and v}
        shown: str | None = source
        if copy or number >= 0:
            file = batch.write_file(source, number, image_id, folder, names)
            shown = os.path.abspath(out / file) if file is not None else None
        if shown is not None:
            out_samples.append(SampleToWrite(shown, source, number, (LABELLED,), known=label,
                                             values=values))  # fmt: skip
            batch.added[LABELLED] += 1
    return out_samples
