"""One folder per class, with links to the images or copies of them, and an index."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pandas as pd

from clusterkit.errors import DataError, ImageError, shown
from clusterkit.exporting.export_rows import ExportRow, ExportRows
from clusterkit.exporting.output_folder import MARKER, Names, write_png
from clusterkit.exporting.selection import UNREADABLE, WITH_LABEL, ExportBatch
from clusterkit.formats.csv_text import safe_csv_text, table_text

INDEX = "index.csv"
OTHERS = {"review": "_review", "novel": "_novel", "failed": "_failed"}

# Folders that a line names.
_NAMED = 3

# Lines of the index that are written at a time.
_PART = 4096

# What torchvision's ImageFolder takes for an image.
_READ = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


def write_folders(batch: ExportBatch, folder: Path, out: Path, copy: bool) -> list[str]:
    """Write class folders and `index.csv`: image, image_id, status, file, label, confidence.

    Images of a status in `WITH_LABEL` go into their class's folder; the others, if they were
    chosen, into ``_review``, ``_novel/cluster-003`` and ``_failed``. A frame is written as PNG,
    since no link can select it, and so is a copy: a file's header (of DICOM, of a JPEG) says who
    it is about. Folders' and files' names are made safe; the index has the label as it is.

    Parameters
    ----------
    batch : ExportBatch
    folder : Path
        To write into; it will be called `out`.
    copy : bool
        Copies as PNG, instead of symbolic links relative to `out`. What cannot be read has none.

    Returns
    -------
    list of str: what to do next, for a person.
    """
    folders = Names(INDEX, MARKER, *OTHERS.values())
    folder_of = {label: folders.choose(label) for label in batch.classes}
    taken: dict[str, Names] = {}
    lost = []
    out = out.parent.resolve() / out.name

    def placed() -> Iterator[tuple[str | float, ...]]:
        for number, row in enumerate(batch.rows, 1):
            own_folder = _folder_for(row, folder_of)
            distinct = row.image_id.replace("#", "-")
            names = taken.setdefault(own_folder, Names())
            file = f"{own_folder}/{names.choose(_file_name(row, copy), distinct)}"
            batch.report(number)
            if not _write_image(batch, row, folder, file, out, copy):
                lost.append(number - 1)
                continue
            label = row.predicted_label if row.status in WITH_LABEL else ""
            texts = (safe_csv_text(text) for text in (row.image, row.image_id, file, label))
            image, image_id, file, label = texts
            confidence = "" if row.confidence is None else row.confidence
            yield image, image_id, row.status, file, label, confidence

    _write_index(placed(), folder / INDEX)
    if len(lost) == len(batch.rows):
        raise DataError(f"none of the {len(batch.rows)} images can be read; see --status")
    batch.rows = batch.rows.without(lost)
    return _remarks(batch.rows, folder_of, copy)


def _file_name(row: ExportRow, copy: bool) -> str:
    name = Path(row.image.replace("\\", "/")).name
    if row.frame >= 0:
        return f"{Path(name).stem}-{row.frame}.png"
    return f"{Path(name).stem}.png" if copy else name


def _write_index(lines: Iterator[tuple[str | float, ...]], path: Path) -> None:
    """Write the lines as they come, many at a time."""
    columns = ["image", "image_id", "status", "file", "label", "confidence"]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        header = True
        while (part := list(islice(lines, _PART))) or header:
            file.write(table_text(pd.DataFrame(part, columns=columns), header=header))
            header = False


def _remarks(rows: ExportRows, folder_of: dict[str, str], copy: bool) -> list[str]:
    """Return what a reader of class folders would not tell."""
    labels = rows.labels(*WITH_LABEL)
    renamed = [f"'{shown(label)}' is in {own}" for label, own in folder_of.items()
               if label != own and label in labels]  # fmt: skip
    out = []
    if renamed:
        more = f" and {len(renamed) - _NAMED} more" * (len(renamed) > _NAMED)
        out.append(f"folders that are not called as their class: {', '.join(renamed[:_NAMED])}"
                   f"{more}; {INDEX} has the label of each file")  # fmt: skip
    others = sorted({OTHERS[status] for status in rows.statuses() if status in OTHERS})
    if others:
        out.append(f"{', '.join(others)} hold images without a label, and readers of class folders "
                   "make classes of them: move them away, or leave out --status")  # fmt: skip
    links = (row.image for row in rows if row.frame < 0 and not copy)
    unread = Counter(os.path.splitext(image)[1].lower() for image in links)
    unread = Counter({ending: n for ending, n in unread.items() if ending not in _READ})
    if unread:
        named = ", ".join(
            f"{n} {ending or 'without an ending'}" for ending, n in sorted(unread.items())
        )
        out.append(f"torchvision's ImageFolder leaves out what it knows no ending of ({named}); "
                   "`--copy` writes all as PNG")  # fmt: skip
    return out


def _folder_for(row: ExportRow, folder_of: dict[str, str]) -> str:
    if row.status in WITH_LABEL:
        return folder_of[row.predicted_label]
    inside_cluster = row.status == "novel" and row.cluster is not None
    return OTHERS[row.status] + (f"/cluster-{row.cluster:03d}" if inside_cluster else "")


def _write_image(
    batch: ExportBatch, row: ExportRow, folder: Path, file: str, out: Path, copy: bool
) -> bool:
    """Link to a row's image, or write it as PNG; False: it cannot be read."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if copy or row.frame >= 0:
        try:
            write_png(row.path, row.frame, batch.run.config.image, path)
        except ImageError:
            batch.left_out[UNREADABLE] += 1
            # A folder that holds nothing would be a class without images.
            with suppress(OSError):
                path.parent.rmdir()
            return False
    else:
        # Relative to where the folder will be, so that images and export can move together.
        target = os.path.relpath(os.path.realpath(row.path), (out / file).parent)
        try:
            os.symlink(target, path)
        except (OSError, NotImplementedError) as error:
            raise DataError(
                f"no links can be made in {out.parent} ({error}); give --copy"
            ) from error
    return True
