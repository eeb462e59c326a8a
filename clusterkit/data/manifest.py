"""Manifest of a data set: one row per image, checked before anything learns from it."""

import hashlib
import logging
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from clusterkit.config import Config, DataConfig
from clusterkit.data.adapters import find_adapter
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.adapters.dicomdir import DicomdirAdapter
from clusterkit.data.files import find_images
from clusterkit.data.frames import expand, name_of, names_of
from clusterkit.data.imageio.read import read_bytes
from clusterkit.errors import DataError, ImageError
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")


COLUMNS = ["image", "image_id", "path", "label", "group", "split", "frame"]

# A file and a frame: one image.
_KEY = ["path", "frame"]


def image_id_of(data: bytes, frame: str | None = None) -> str:
    """Id of an image: the first 16 hex digits of the SHA-256 of its file's bytes.

    Of a file with several images, ``#k`` for frame k is appended.
    """
    return name_of(hashlib.sha256(data).hexdigest()[:16], frame)


def read_identified(path: Path | str, frame: str | None = None) -> tuple[bytes, str]:
    """Bytes of an image's whole file, and the image's id.

    Frames of one file follow each other: the last file with several frames is kept in memory for
    as long as it does not change.

    Raises
    ------
    ImageError
        As `read_bytes`.
    """
    if not frame:
        data = read_bytes(path)
        return data, image_id_of(data)
    try:
        found = os.stat(path)
        stamp = found.st_mtime_ns, found.st_size
    except (OSError, ValueError):
        stamp = None
    data, identity = _read_once(str(path), stamp)
    return data, name_of(identity, frame)


@lru_cache(maxsize=1)
def _read_once(path: str, stamp: tuple[int, int] | None) -> tuple[bytes, str]:
    data = read_bytes(path)
    return data, image_id_of(data)


def default_source() -> Path:
    """Path ``labeled/`` or ``labels.csv`` in the current folder.

    Raises
    ------
    DataError
        Neither is there.
    """
    for name in ("labeled", "labels.csv"):
        if Path(name).exists():
            return Path(name)
    raise DataError(
        "no data given, and neither labeled/ nor labels.csv is here; "
        "give a folder with one subfolder a class, or a CSV with columns image and label"
    )


def data_root(source: Path, config: DataConfig) -> Path:
    """Folder that the manifest's image paths are relative to."""
    return Path(config.images or source.parent) if source.is_file() else source


def read_manifest(
    source: Path | str | None = None,
    config: Config | DataConfig | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Manifest of a data set: its labelled images, and the unlabelled ones among them.

    Parameters
    ----------
    source : path or None
        A folder or a CSV; None: the config's, else `default_source`.
    config : Config or DataConfig or None
        Columns, label pattern, root of the images, folder of unlabelled ones; for DICOM which
        frames, the element with the label, elements to keep, the key for patient ids.
    progress : callable or None
        Called with (stage, done, total).

    Returns
    -------
    DataFrame
        With `COLUMNS`, and a column for each element to keep; sorted by image and frame. label,
        group, split and frame are str or None.

    Raises
    ------
    DataError, ConfigError
        The data set cannot be used; one line says why.
    """
    config = _whole(config)
    source = Path(source or config.data.source or default_source())
    rows = _merge_rows(read_rows(source, config, progress), source)
    rows["image_id"] = _image_ids(rows, source)
    rows = _drop_conflicts(rows)
    _check_splits(rows, source)
    return _sorted(rows)[[*COLUMNS, *config.data.keep_tags]]


def read_rows(
    source: Path, config: Config, progress: Progress | None = None, labels: bool = True
) -> pd.DataFrame:
    """Rows of a data set as its source lists them, those of `data.unlabeled` last.

    They are not checked: the same image may be there twice.

    Parameters
    ----------
    labels : bool
        False: a CSV need not have a label column.

    Returns
    -------
    DataFrame
        With `COLUMNS` but `image_id`, and the elements to keep; label, group, split and frame
        are str or None.

    Raises
    ------
    DataError, ConfigError
        The source cannot be listed at all.
    """
    adapter = find_adapter(source, config.data)
    tag = config.data.label_tag
    if isinstance(adapter, CsvAdapter) and (tag or not labels):
        adapter = CsvAdapter(source, config.data, labels=False)
    listed = _complete(adapter.read())
    if tag and isinstance(adapter, CsvAdapter) and listed["label"].notna().any():
        raise DataError(f"{source} has labels, and data.label_tag = '{tag}' asks for those of the "
                        "DICOM headers; leave out one")  # fmt: skip
    parts = [expand(listed, config, progress)]
    if config.data.unlabeled:
        parts.append(_complete(read_inputs(config.data.unlabeled, config, progress)))
    return pd.concat(parts, ignore_index=True)


def read_inputs(
    source: Path | str,
    config: Config | DataConfig | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Rows of the images to assign; of files that can hold several, the header is read.

    Parameters
    ----------
    source : path
        A folder (searched to the bottom), a CSV, a DICOMDIR, or one image.

    Returns
    -------
    DataFrame
        With columns image, path, group, frame and the elements to keep; sorted by image and
        frame, each image once. A CSV's row whose file is missing stays: it becomes a `failed`
        row.

    Raises
    ------
    DataError
        The source does not exist or cannot be listed, or an image is in two groups.
    """
    config = _without_labels(_whole(config))
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist; give a folder of images or a CSV")
    rows = expand(_complete(_list_inputs(source, config.data)), config, progress)
    groups = rows.groupby(["path", "frame"], dropna=False)["group"].nunique()
    if (groups > 1).any():
        path, _ = groups.index[int(groups.to_numpy().argmax())]
        image = rows["image"][rows["path"] == path].iloc[0]
        raise DataError(f"{source}: image '{image}' is in two groups; keep one")
    rows = rows.sort_values("group", na_position="last", kind="stable")
    rows = _sorted(rows.drop_duplicates(["path", "frame"]))
    return rows[["image", "path", "group", "frame", *config.data.keep_tags]]


def _list_inputs(source: Path, config: DataConfig) -> pd.DataFrame:
    if CsvAdapter.accepts(source, config):
        return CsvAdapter(source, config, labels=False).read()
    if DicomdirAdapter.accepts(source, config):
        return DicomdirAdapter(source, config).read()
    if source.is_file():
        images, root = [source.name], source.parent
    else:
        images, root = find_images(source), source
    base = root.absolute()
    paths = [os.path.join(base, image) for image in images]
    return pd.DataFrame({"image": images, "path": paths, "group": None}, dtype=object)


def _whole(config: Config | DataConfig | None) -> Config:
    return config if isinstance(config, Config) else Config(data=config or DataConfig())


def _without_labels(config: Config) -> Config:
    """Configuration without a label tag: images to assign have no labels to read."""
    return replace(config, data=replace(config.data, label_tag=None))


def check_labels(manifest: pd.DataFrame, max_classes: int) -> list[str]:
    """Classes of a manifest, sorted.

    Raises
    ------
    DataError
        No image is labelled, there is one class only or more than `max_classes`, or a label
        holds ``|``, the separator of label sets.
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
    piped = [label for label in counts.index if "|" in label]
    if piped:
        raise DataError(f"label '{piped[0]}' holds '|', which separates labels in "
                        "assignments.csv; use another character")  # fmt: skip
    single = counts[counts == 1].index.tolist()
    if single:
        log.warning("%d classes have one labelled image only, e.g. '%s': they are never held "
                    "out, so nothing is known of their errors", len(single), single[0])  # fmt: skip
    return counts.index.tolist()


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    others = [c for c in rows if c not in COLUMNS]
    rows = rows.reindex(columns=[*(c for c in COLUMNS if c != "image_id"), *others]).astype(object)
    return rows.where(rows.notna(), None)


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = [-1 if frame is None else int(frame) for frame in rows["frame"]]
    rows = rows.assign(_frame=numbers).sort_values(["image", "path", "_frame"], ignore_index=True)
    return rows.drop(columns="_frame")


def _merge_rows(rows: pd.DataFrame, source: Path) -> pd.DataFrame:
    repeated = rows[rows.duplicated(_KEY, keep=False)]
    for column in ("label", "group"):
        values = repeated.groupby(_KEY, dropna=False)[column].agg(lambda v: sorted(set(v.dropna())))
        for (path, _), found in zip(values.index, values, strict=True):
            if len(found) > 1:
                image = repeated.loc[repeated["path"] == path, "image"].iloc[0]
                raise DataError(f"{source}: image '{image}' has two {column}s, '{found[0]}' and "
                                f"'{found[1]}'; keep one")  # fmt: skip
    # A labelled row wins over an unlabelled one of the same image.
    rows = rows.sort_values(["path", "label"], na_position="last")
    return rows.drop_duplicates(_KEY, ignore_index=True)


def _image_ids(rows: pd.DataFrame, source: Path) -> list[str]:
    ids, missing = [], []
    columns = (rows[name] for name in ("image", "path", "frame", "label"))
    for image, path, frame, label in zip(*columns, strict=True):
        try:
            ids.append(read_identified(path, frame)[1])
        except ImageError as error:
            ids.append("")
            if label is not None:
                missing.append((image, str(error)))
    if missing:
        raise DataError(
            f"{source}: {len(missing)} labelled images cannot be read, e.g. '{missing[0][0]}' "
            f"({missing[0][1]}); check the paths or name their root with --images"
        )
    return ids


def _drop_conflicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the labels off byte-identical files that are labelled differently.

    One of them is wrong and no program can know which; no label is better than a wrong one.
    """
    known = rows[rows["label"].notna() & (rows["image_id"] != "")]
    labels = known.groupby("image_id")["label"].nunique()
    clashes = labels.index[labels > 1]
    if len(clashes):
        pair = known[known["image_id"] == clashes[0]].drop_duplicates("label").iloc[:2]
        (first, second), (one, other) = names_of(pair), pair["label"]
        log.warning(
            "%d images are there twice under different labels and count as unlabelled, e.g. "
            "'%s' (%s) and '%s' (%s): correct or remove one", len(clashes), first, one, second,
            other,
        )  # fmt: skip
        rows.loc[rows["image_id"].isin(clashes), "label"] = None
    return rows


def _check_splits(rows: pd.DataFrame, source: Path) -> None:
    given = rows["split"].dropna()
    wrong = given[~given.isin(["train", "valid"])]
    if len(wrong):
        raise DataError(f"{source}: split '{wrong.iloc[0]}' is not allowed; use train, valid or "
                        "leave it empty")  # fmt: skip
    sides = rows.dropna(subset=["split", "group"]).groupby("group")["split"].nunique()
    if (sides > 1).any():
        raise DataError(f"{source}: group '{sides.idxmax()}' is in both train and valid; a "
                        "patient on both sides makes every result too good")  # fmt: skip
