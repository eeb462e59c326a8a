"""Frames of files: one row per image in a file, with the patient and elements of its header.

Adapters list files. Their rows are expanded here.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.file_headers import Header, read_headers
from clusterkit.data.image_types import maybe_dicom
from clusterkit.data.imageio import dicom
from clusterkit.data.imageio.read import MAX_BYTES
from clusterkit.data.left_out import LeftOut
from clusterkit.data.listing import list_images
from clusterkit.data.manifest_rows import file_numbers, with_written_text
from clusterkit.data.patient_pictures import say_slides, take_pictures
from clusterkit.data.patients import take_patients
from clusterkit.data.pseudonyms import check_plain, is_personal, known_tag
from clusterkit.data.remarks import Remarks
from clusterkit.errors import DataError
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

# PS3.5 9.1: numbers with points between them, at most 64 characters.
_UID = re.compile(r"(?=.{3,64}$)[0-9]+(\.[0-9]+)+")


def expand(
    rows: pd.DataFrame,
    config: Config,
    progress: Progress | None = None,
    left_out: LeftOut | None = None,
    remarks: Remarks | None = None,
) -> pd.DataFrame:
    """Expand rows of files to rows of images, with patients as groups and the kept elements.

    DICOM objects that are no pictures of a patient (masks, doses, reports, localizers, …) become
    no rows; see `imageio.dicom.objects`.

    Parameters
    ----------
    rows : DataFrame
        Columns image, path, label, group, frame; None: not known. A row with a frame stays one
        row.
    config : Config
        `image.frames`, `data.keep_tags`, `data.label_tag`, `data.key_file`.
    left_out : LeftOut or None
        Counts the files that become no row.
    remarks : Remarks or None
        Takes what is to be said of patients; None: it is logged.

    Returns
    -------
    DataFrame
        With a column more for each element to keep, named as in the config. `group` of DICOM
        rows without one is the hash of PatientID, or PatientID itself where that is to be kept;
        see `patients.take_patients`.

    Raises
    ------
    ConfigError
        An element is not known, or the key cannot be used.
    DataError
        `label_tag` is in no file, a frame is no number, or no file is a picture.
    """
    data, wanted = config.data, _wanted(config)
    keep = [known_tag(name) for name in data.keep_tags]
    headers = read_headers(rows["path"].tolist(), wanted, progress)
    rows, headers = take_pictures(rows, headers, config.data.keep_localizers, left_out)
    say_slides(rows, headers)
    rows = rows.reset_index(drop=True).astype(object)
    for name, tag in zip(data.keep_tags, keep, strict=True):
        rows[name] = [header.tags.get(tag, "") if header else "" for header in headers]
    if data.label_tag:
        _take_labels(rows, headers, known_tag(data.label_tag), data.label_tag)
    said = Remarks() if remarks is None else remarks
    take_patients(rows, [header.origin if header else None for header in headers], config, said)
    if remarks is None:
        said.warn()
    cells = zip(rows["image"], _named_frames(rows, headers), headers, strict=True)
    rows["frame"] = [_frames(image, cell, header, config) for image, cell, header in cells]
    rows = with_written_text(rows, ["group", *data.keep_tags])
    rows = rows.explode("frame", ignore_index=True).astype(object)
    return rows.where(rows.notna(), None)


def resolve_uids(root: Path, images: list[str]) -> list[str]:
    """Images with each SOPInstanceUID replaced by the path of its file, relative to the root.

    The headers under the root are read only if an image looks like a UID and is no file. A UID
    that is in no file stays, and is then a file that does not exist.

    Raises
    ------
    DataError
        Two files have one of the UIDs.
    """
    wanted = {i for i in images if _UID.fullmatch(i) and not (root / i).exists()}
    if not wanted:
        return images
    found: dict[str, str] = {}
    listing = list_images(root)
    for name, path in zip(listing.images, listing.paths, strict=True):
        if maybe_dicom(name):
            try:
                header = dicom.read_elements(Path(path), MAX_BYTES, ["SOPInstanceUID"])
            except Exception:
                continue
            uid = header["SOPInstanceUID"] if header else ""
            if uid in wanted and uid in found:
                raise DataError(f"{root}: '{found[uid]}' and '{name}' have the SOPInstanceUID "
                                f"{uid}; give their paths instead")  # fmt: skip
            found[uid] = name
    return [found.get(image, image) if image in wanted else image for image in images]


def name_of(image: str, frame: str | None) -> str:
    """Name of one image of a file: the path, and ``#k`` for frame k.

    >>> name_of("a/b.dcm", "3"), name_of("a/b.png", None)
    ('a/b.dcm#3', 'a/b.png')
    """
    return f"{image}#{frame}" if frame else image


def names_of(rows: pd.DataFrame) -> np.ndarray:
    """Names (N,) of the images of a manifest's rows; see `name_of`."""
    pairs = zip(rows["image"], rows["frame"], strict=True)
    return np.array([name_of(i, f if isinstance(f, str) else None) for i, f in pairs], dtype=object)


def files_of(image_ids: pd.Series) -> pd.Series:
    """Image ids without their frames: the same for all images of one file."""
    return image_ids.astype(str).str.split("#").str[0]


def frame_of(image_id: str) -> int:
    """Frame that an image id names; 0 for files with one image.

    >>> frame_of("0123456789abcdef#7"), frame_of("0123456789abcdef")
    (7, 0)
    """
    number = image_id.partition("#")[2]
    return int(number) if number.isdecimal() else 0


def _wanted(config: Config) -> tuple[int, ...]:
    """Tags of the elements to read; a personal one is refused as a label."""
    data = config.data
    tags = [known_tag(name) for name in data.keep_tags]
    for name, tag in zip(data.keep_tags, tags, strict=True):
        check_plain(name, tag)
    if data.label_tag:
        label = known_tag(data.label_tag)
        check_plain(data.label_tag, label)
        if is_personal(label) and label not in tags:
            raise DataError(
                f"label tag {data.label_tag} is personal data, and labels are written everywhere; "
                f"if that is meant, add --keep-tags {data.label_tag}"
            )
        tags.append(label)
    return tuple(tags)


def _take_labels(rows: pd.DataFrame, headers: list[Header | None], tag: int, name: str) -> None:
    """Make the values of an element the labels of the rows."""
    labels = [header.tags.get(tag, "") if header else "" for header in headers]
    if not any(labels):
        raise DataError(
            f"no file has a value in the label tag {name}; inspect one, or name another"
        )
    missing = labels.count("")
    if missing:
        log.warning("%d files have no value in %s and count as unlabelled", missing, name)
    rows["label"] = [label or None for label in labels]


def _named_frames(rows: pd.DataFrame, headers: list[Header | None]) -> list[str | None]:
    """Frames that rows name; none where the column is about something else.

    Such as the numbers or times of a film's frames, each of which is a file of its own: then no
    file holds several images, and none is named for two frames.
    """
    named = rows["frame"].tolist()
    cells = {cell for cell in named if isinstance(cell, str)}
    if not cells - {"0"}:
        return named
    several = any(
        header is not None and header.frames is not None and isinstance(cell, str)
        for cell, header in zip(named, headers, strict=True)
    )
    if several or (rows["frame"].groupby(file_numbers(rows)).nunique() > 1).any():
        return named
    log.warning("the column frame, e.g. '%.20s', is left out of account: every file holds one "
                "image", min(cells - {"0"}))  # fmt: skip
    return [None] * len(named)


def _frames(
    image: str, cell: str | None, header: Header | None, config: Config
) -> list[str | None]:
    """Frames of a file that become rows: the one its row names, else those of the config."""
    named = cell if isinstance(cell, str) else ""
    if named and not (named.isdecimal() and len(named) < 10):
        raise DataError(f"image '{image}': frame '{named:.20}' is not a whole number from 0; "
                        "leave it empty to take all")  # fmt: skip
    if named and (int(named) or (header is not None and header.frames is not None)):
        # Of a file with one image, a frame other than 0 fails when it is read, and says so.
        return [str(int(named))]
    if header is None or header.frames is None:
        return [None]
    frames, choice = list(range(header.frames)), config.image.frames
    if choice == "middle":
        frames = [frames[len(frames) // 2]]
    elif isinstance(choice, int) and choice < len(frames):
        # So many stretches of equal length, and the middle of each.
        places = (np.arange(choice) + 0.5) * len(frames) / choice
        frames = [frames[int(place)] for place in places]
    return [str(frame) for frame in frames]
