"""COCO-style JSON of whole-image labels: info, images, categories, annotations.

The box of an annotation is the whole image, so that readers that want boxes and areas, and filters
by them, find what they need.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusterkit
from clusterkit.data.imageio.read import image_size
from clusterkit.errors import DataError, ImageError
from clusterkit.exporting.export_rows import ExportRow
from clusterkit.exporting.output_folder import Names, write_json
from clusterkit.exporting.selection import ANSWERED, UNREADABLE, ExportBatch

FILE = "coco.json"

_TEXTS = ("status", "group", "reason", "duplicate_of")


def write_coco(batch: ExportBatch, folder: Path, copy: bool) -> list[str]:
    """Write `coco.json`; image and category ids count from 1, categories in the run's order,
    then labels that a person answered.

    `file_name` is relative to the folder of the input images, or with `copy` to that of the
    JSON. Of a file with several images, `frame` says which. Images that are novel or failed have
    no annotation. `iscrowd` is 0, `bbox` the whole image and `area` its pixels. See https://cocodataset.org/#format-data.

    Parameters
    ----------
    batch : ExportBatch
    folder : Path
        To write into.
    copy : bool
        Write each image as PNG too.

    Returns
    -------
    list of str: what to do next, for a person.

    Raises
    ------
    DataError
        None of the images can be read.
    """
    numbers = {label: i for i, label in enumerate(batch.classes, 1)}
    names, lost, sizes = Names() if copy else None, [], []

    def images() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(batch.rows, 1):
            image = _image(batch, row, folder, names)
            batch.report(number)
            if image is None:
                lost.append(number - 1)
                continue
            sizes.append((image["width"], image["height"]))
            yield {"id": len(sizes), **image}
        if not sizes:
            raise DataError(f"none of the {len(batch.rows)} images can be read; see --status")
        batch.rows = batch.rows.without(lost)

    info = {"description": f"Labels by clusterkit's run {batch.run.path.name}",
            "version": clusterkit.__version__, "contributor": "clusterkit"}  # fmt: skip
    categories = [{"id": i, "name": label, "supercategory": ""} for label, i in numbers.items()]
    # The annotations begin when the last image is written.
    content = {"info": info, "licenses": [], "images": images(), "categories": categories,
               "annotations": _annotations(batch, sizes, numbers)}  # fmt: skip
    write_json(folder / FILE, content)
    return [] if copy else [f"image paths in {FILE} are relative to {batch.root}"]


def _annotations(
    batch: ExportBatch, sizes: list[tuple[int, int]], numbers: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield the annotations of images of these sizes (width, height), by the labels' numbers."""
    count = 0
    for image, (row, (width, height)) in enumerate(zip(batch.rows, sizes, strict=True), 1):
        if row.status not in ANSWERED:
            continue
        count += 1
        annotation: dict[str, Any] = {
            "id": count,
            "image_id": image,
            "category_id": numbers[row.predicted_label],
            "bbox": [0, 0, width, height],
            "area": width * height,
            "iscrowd": 0,
        }
        # A person's answer has no score: readers take what has one for a detection.
        if row.confidence is not None and row.status != "reviewed":
            annotation["score"] = row.confidence
        yield annotation | {"attributes": _attributes(row)}


def _image(
    batch: ExportBatch, row: ExportRow, folder: Path, names: Names | None
) -> dict[str, Any] | None:
    how, frame = batch.run.config.image, max(row.frame, 0)
    file = row.image if names is None else batch.write_picture(row, folder, names)
    if file is None:
        return None
    source = Path(row.path) if names is None else folder / file
    try:
        width, height = image_size(source, how, frame if names is None else 0)
    except ImageError:
        batch.left_out[UNREADABLE] += 1
        return None
    out: dict[str, Any] = {"file_name": file, "width": width, "height": height,
                           "clusterkit_id": row.image_id}  # fmt: skip
    if row.frame >= 0 and names is None:
        out["frame"] = row.frame
    return out


def _attributes(row: ExportRow) -> dict[str, Any]:
    out = {name: getattr(row, name) for name in _TEXTS}
    if row.cluster is not None:
        out["cluster"] = row.cluster
    return out
