"""Label Studio: tasks with predictions, and the labeling config of the project.

Formats: Label Studio's guide, "Import pre-annotations" (tasks) and its tags Image, Choices,
TextArea, Filter and Header (config).
"""

import os
import posixpath
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from clusterkit.data.written_names import true_name
from clusterkit.errors import ConfigError, DataError, shown
from clusterkit.exporting.export_rows import ExportRow
from clusterkit.exporting.output_folder import Names, write_json
from clusterkit.exporting.selection import ANSWERED, IMAGES, ExportBatch
from clusterkit.formats.label_studio_task import (
    CHOICES,
    IMAGE,
    IMAGE_ID,
    IMAGE_NAME,
    NEW_LABEL,
    PREDICTED,
    REJECT,
)
from clusterkit.formats.named_assignments import place_of

LOCAL_FILES = "/data/local-files/?d="
TASKS, CONFIG = "tasks.json", "label-studio.xml"

UNSHOWN = "not shown by a browser, see --copy"

# What a person reads for `REJECT`; no class can be called so either.
REJECT_TEXT = "wrong | truth unknown"

_KEYS = 9
_DOLLAR = "\N{FULLWIDTH DOLLAR SIGN}"

# Folders that a step names; more are counted.
_NAMED = 5

_SHOWN = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"}

_TEXTS = ("status", "group", "reason", "label_set", "nearest_image", "nearest_label")


def labeling_config(classes: list[str]) -> str:
    """Return the XML that sets a project up: a choice per class, room for another, the picture.

    The first nine classes have the keys 1 to 9, and `REJECT` has 0. More than nine are listed in a
    box that scrolls, with a field that filters them.

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
    reject = f'    <Choice value={quoteattr(REJECT_TEXT)} alias={quoteattr(REJECT)} hotkey="0"/>'
    choices = [
        f"    <Choice{_choice(label)}" + f' hotkey="{key}"' * (key <= _KEYS) + "/>"
        for key, label in enumerate(classes, 1)
    ]
    many = len(classes) > _KEYS
    find = [f'  <Filter name="find" toName="{CHOICES}" minlength="0" hotkey="shift+f"',
            '    placeholder="Find a label: type a part of it"/>',
            '  <View style="max-height: 20vh; overflow-y: auto">']  # fmt: skip
    return "\n".join([
        "<View>",
        f'  <Header value="${IMAGE_NAME}" size="4"/>',
        '  <Header value="$reason" size="5"/>',
        *(find if many else []),
        f'  <Choices name="{CHOICES}" toName="{IMAGE}" choice="single" showInLine="true">',
        # It is looked for where it can be seen.
        *([reject, *choices] if many else [*choices, reject]),
        "  </Choices>",
        *(["  </View>"] if many else []),
        f'  <TextArea name="{NEW_LABEL}" toName="{IMAGE}" maxSubmissions="1" editable="true"',
        '    placeholder="A label that is not among the choices; it counts before them"/>',
        f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true"/>',
        "</View>",
        "",
    ])  # fmt: skip


def _choice(label: str) -> str:
    """Return a choice's name, and what comes back where it is shown otherwise."""
    if "$" not in label:
        return f" value={quoteattr(label)}"
    # Label Studio puts the task's data in the place of $name.
    return f" value={quoteattr(label.replace('$', _DOLLAR))} alias={quoteattr(label)}"


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
    images = Path(os.path.abspath(out / IMAGES if copy else batch.root))
    base = Path(os.path.abspath(root)) if root else images if prefix is not None else images.parent
    if not images.is_relative_to(base):
        raise ConfigError(f"the images are in {images}, which is not under --root {base}; give a "
                          "folder that holds them, or --copy")  # fmt: skip
    if copy and prefix is None:
        _storages(base, images, {""})
    inner = images.relative_to(base).as_posix()
    start = (LOCAL_FILES if prefix is None else prefix) + (
        f"{quote(os.fsencode(inner))}/" if inner != "." else ""
    )
    # The XML first: a class that it cannot hold is better said before thousands of pictures.
    (folder / CONFIG).write_text(labeling_config(batch.classes), encoding="utf-8")
    folders, lost = set(), []

    def tasks() -> Iterator[dict[str, Any]]:
        written = Names()
        for number, row in enumerate(batch.rows, 1):
            name = batch.write_picture(row, folder, written) if copy else _own_file(batch, row)
            batch.report(number)
            if name is None:
                lost.append(number - 1)
                continue
            name = name.removeprefix(f"{IMAGES}/") if copy else name
            folders.add(posixpath.dirname(name))
            yield task(row, start + quote(os.fsencode(name)), batch.run.path.name)

    write_json(folder / TASKS, tasks())
    if not folders:
        raise DataError(f"no image of {batch.root} can be shown in Label Studio as it is (DICOM, "
                        "TIFF and frames cannot): give --copy, which writes PNG files")  # fmt: skip
    batch.rows = batch.rows.without(lost)
    storages = _storages(base, images, folders) if prefix is None else []
    return _next_steps(batch, out, base, storages, prefix)


def _storages(base: Path, images: Path, folders: set[str]) -> list[Path]:
    """Return the folders that Label Studio must be told of to serve pictures in these folders.

    The narrowest one that holds all of them; where that is its document root, which it refuses,
    the folders therein.

    Raises
    ------
    ConfigError
        A picture lies in the document root itself.
    """
    holds = Path(os.path.normpath(images / (posixpath.commonpath(folders) if all(folders) else "")))
    if holds != base:
        return [holds]
    if not all(folders):
        raise ConfigError(f"Label Studio serves no picture that lies in its document root {base} "
                          f"itself; give --root {base.parent}")  # fmt: skip
    return sorted({base / folder.split("/")[0] for folder in folders})


def _next_steps(
    batch: ExportBatch, out: Path, base: Path, storages: list[Path], prefix: str | None
) -> list[str]:
    """Return what to do next; commands as a shell takes them."""
    steps = [f"create a project: as data import {out / TASKS}, and as labeling setup, custom "
             f"template, code, the content of {out / CONFIG}"]  # fmt: skip
    if prefix is None:
        which = " and ".join(str(path) for path in storages)
        if len(storages) > _NAMED:
            which = f"each of the {len(storages)} folders in {base} that hold pictures"
        steps = [
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(str(base))} label-studio start",
            *steps,
            f"in its Settings, Cloud Storage, Add Source Storage choose Local Files, with the path "
            f"{which}; at the end Save, not Save & Sync",
        ]
    elif prefix.partition("://")[0].lower() in ("http", "https"):
        steps.append("the server of the pictures must send the header Access-Control-Allow-Origin "
                     "with Label Studio's address, e.g. http://localhost:8080")  # fmt: skip
    # Elsewhere than beside the assignments, what was exported does not say what it is about.
    of = shlex.quote(str(place_of(batch.csv)))
    return [*steps, f"clusterkit review EXPORTED.json --run {of}, for what Label Studio exports "
                    "as JSON"]  # fmt: skip


def task(row: ExportRow, url: str, model: str) -> dict[str, Any]:
    """Return one task: its data, and a prediction for a row of a status in `ANSWERED`.

    A novel image gets none: its nearest class is no answer to be agreed with. What a person
    answered in a check is an annotation that is there already, marked as ground truth.

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
        if row.status == "reviewed":
            out["annotations"] = [{"result": [choice], "ground_truth": True}]
            return out
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
