"""Label Studio: tasks with predictions, and the labeling config of the project.

Formats: Label Studio's guide, "Import pre-annotations" (tasks) and its tags Image, Choices,
TextArea and Header (config).
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from clusterkit.data.written_names import true_name
from clusterkit.errors import ConfigError, DataError, shown
from clusterkit.exporting.output_folder import Names, write_json
from clusterkit.exporting.selection import ANSWERED, IMAGES, ExportBatch, ExportRow
from clusterkit.formats.label_studio import (
    CHOICES,
    IMAGE,
    IMAGE_ID,
    IMAGE_NAME,
    NEW_LABEL,
    PREDICTED,
)

LOCAL_FILES = "/data/local-files/?d="
TASKS, CONFIG = "tasks.json", "label-studio.xml"

UNSHOWN = "not shown by a browser, see --copy"

_SHOWN = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"}

_TEXTS = ("status", "group", "reason", "label_set", "nearest_image", "nearest_label")


def labeling_config(classes: list[str]) -> str:
    """Return the XML that sets a project up: the picture, a choice per class, room for another.

    Parameters
    ----------
    classes : list of str

    Raises
    ------
    DataError
        A class has a character that XML cannot hold.
    """
    for label in classes:
        if any((ord(c) < 32 and c not in "\t\n\r") or c in "\ufffe\uffff" for c in label):
            raise DataError(f"class '{shown(label)}' has a character that XML cannot hold; rename "
                            "it and fit again")  # fmt: skip
    choices = [f"    <Choice value={quoteattr(label)}/>" for label in classes]
    return "\n".join([
        "<View>",
        f'  <Header value="${IMAGE_NAME}"/>',
        '  <Header value="$reason" size="5"/>',
        f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true"/>',
        f'  <Choices name="{CHOICES}" toName="{IMAGE}" choice="single" showInLine="true">',
        *choices,
        "  </Choices>",
        f'  <TextArea name="{NEW_LABEL}" toName="{IMAGE}" maxSubmissions="1" editable="true"',
        '    placeholder="A label that is not among the choices; it counts before them"/>',
        "</View>",
        "",
    ])  # fmt: skip


def write_label_studio(
    batch: ExportBatch, folder: Path, out: Path, copy: bool, root: Path | None, prefix: str | None
) -> list[str]:
    """Write `tasks.json` and `label-studio.xml`, and with `copy` the pictures.

    Parameters
    ----------
    batch : ExportBatch
    folder : Path
        To write into; it will be called `out`.
    copy : bool
        Write each image as PNG into ``images/``: the only way to show DICOM, TIFF and frames.
    root : Path or None
        The folder that URLs are relative to. None: for local files the parent of the images'
        folder, since Label Studio serves folders below its document root only; else that folder.
    prefix : str or None
        Of the URLs; None: that of Label Studio's local files.

    Returns
    -------
    list of str: what to do next, for a person.
    """
    images = out / IMAGES if copy else batch.root
    images = Path(os.path.abspath(images))
    base = Path(os.path.abspath(root)) if root else images if prefix is not None else images.parent
    if not images.is_relative_to(base):
        raise ConfigError(f"the images are in {images}, which is not under --root {base}; give a "
                          "folder that holds them, or --copy")  # fmt: skip
    inner = images.relative_to(base).as_posix()
    start = (LOCAL_FILES if prefix is None else prefix) + (
        f"{quote(os.fsencode(inner))}/" if inner != "." else ""
    )
    # The XML first: a class that it cannot hold is better said before thousands of pictures.
    (folder / CONFIG).write_text(labeling_config(batch.run.classes), encoding="utf-8")
    tasks, kept, names = [], [], Names()
    for number, row in enumerate(batch.rows, 1):
        name = batch.write_picture(row, folder, names) if copy else _own_file(batch, row)
        if name is not None:
            name = name.removeprefix(f"{IMAGES}/") if copy else name
            tasks.append(task(row, start + quote(os.fsencode(name)), batch.run.path.name))
            kept.append(row)
        batch.report(number)
    if not tasks:
        raise DataError(f"no image of {batch.root} can be shown in Label Studio as it is (DICOM, "
                        "TIFF and frames cannot): give --copy, which writes PNG files")  # fmt: skip
    batch.rows = kept
    write_json(folder / TASKS, tasks)
    steps = [f"create a project with the labeling config {out / CONFIG}, import {out / TASKS}"]
    if prefix is None:
        steps.insert(0, "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
                     f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={base}; in the project add the "
                     f"local storage {images} (without syncing it)")  # fmt: skip
    return [*steps, "clusterkit review EXPORTED.json, for what Label Studio exports as JSON"]


def task(row: ExportRow, url: str, model: str) -> dict[str, Any]:
    """Return one task: its data, and a prediction for a row of a status in `ANSWERED`.

    A novel image gets none: its nearest class is no answer to be agreed with.

    Parameters
    ----------
    row : ExportRow
    url : str
        Of the image.
    model : str
        The prediction's ``model_version``.
    """
    data: dict[str, Any] = {IMAGE: url, IMAGE_ID: row.image_id, IMAGE_NAME: row.image,
            PREDICTED: row.predicted_label}  # fmt: skip
    data |= {name: getattr(row, name) for name in _TEXTS}
    if row.confidence is not None:
        data["confidence"] = row.confidence
    if row.cluster is not None:
        data["cluster"] = row.cluster
    out: dict[str, Any] = {"data": data}
    if row.status in ANSWERED:
        choice = {"id": "label", "from_name": CHOICES, "to_name": IMAGE, "type": "choices",
                  "value": {"choices": [row.predicted_label]}}  # fmt: skip
        prediction: dict[str, Any] = {"model_version": model, "result": [choice]}
        if row.confidence is not None:
            prediction["score"] = row.confidence
        out["predictions"] = [prediction]
    return out


def _own_file(batch: ExportBatch, row: ExportRow) -> str | None:
    if row.frame < 0 and Path(row.path).suffix.lower() in _SHOWN:
        return true_name(row.image)
    batch.left_out[UNSHOWN] += 1
    return None
