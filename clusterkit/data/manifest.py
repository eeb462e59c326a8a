"""Manifest of a data set: one row per image, checked before anything learns from it."""

import logging
from pathlib import Path

import pandas as pd

from clusterkit.config import Config, DataConfig
from clusterkit.data.adapters import Adapter, find_adapter
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.frames import expand, names_of
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.failures import reason_of
from clusterkit.data.inputs import read_inputs
from clusterkit.data.label_map import LabelMap, read_label_map
from clusterkit.data.labels import read_labels
from clusterkit.data.left_out import LeftOut
from clusterkit.data.manifest_rows import COLUMNS, complete, file_numbers, sort_rows, whole_config
from clusterkit.data.remarks import Remarks
from clusterkit.data.remote_places import local_place
from clusterkit.errors import DataError
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

# A file and a frame: one image.
_KEY = ["file", "frame"]


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
    left_out: LeftOut | None = None,
    label_map: LabelMap | None = None,
    features: FeatureTable | None = None,
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
    left_out : LeftOut or None
        Counts the files that become no row.
    label_map : LabelMap or None
        The map, where the caller has read it and says itself which of its names are nowhere.
    features : FeatureTable or None
        Given: labelled images need features, and their files may be gone.

    Returns
    -------
    DataFrame
        With `COLUMNS`, and a column for each element to keep; sorted by image and frame. label,
        group, split and frame are str or None. With `features` also `vector`, the number of the
        image's row in the table; -1: it has none.

    Raises
    ------
    DataError, ConfigError
        The data set cannot be used; one line says why.
    """
    config = whole_config(config)
    source = local_place(
        source or config.data.source or default_source(), "labelled images are read"
    )
    found = read_rows(source, config, progress, left_out=left_out, label_map=label_map)
    rows = _merge_rows(found, source)
    rows["image_id"] = _image_ids(rows, None if features is not None else source)
    if features is not None:
        # It imports torch, which `inspect` does without.
        from clusterkit.data.features.vector_lookup import with_features

        rows = with_features(rows, features)
    rows = _drop_conflicts(rows)
    _check_splits(rows, source)
    vector = [] if features is None else ["vector"]
    return sort_rows(rows)[[*COLUMNS, *config.data.keep_tags, *vector]]


def read_rows(
    source: Path,
    config: Config,
    progress: Progress | None = None,
    labels: bool = True,
    left_out: LeftOut | None = None,
    remarks: Remarks | None = None,
    label_map: LabelMap | None = None,
) -> pd.DataFrame:
    """Rows of a data set as its source lists them, those of `data.unlabeled` last, unchecked.

    Parameters
    ----------
    labels : bool
        False: a CSV need not have a label column.
    left_out : LeftOut or None
        Counts the files that become no row.
    remarks : Remarks or None
        None: they are logged, and a label that cannot be read is an error.
    label_map : LabelMap or None

    Returns
    -------
    DataFrame
        With `COLUMNS` but `image_id`, and the elements to keep; texts are str or None. The same
        image may be there twice.

    Raises
    ------
    DataError, ConfigError
        The source cannot be listed at all.
    """
    for named in (config.data.images, config.data.unlabeled):
        if named:
            local_place(named, "images to learn from are read")
    tag = config.data.label_tag
    adapter, listed = _read_source(source, config, labels)
    left_out = LeftOut() if left_out is None else left_out
    left_out.include(getattr(adapter, "left_out", None))
    said = Remarks() if remarks is None else remarks
    said.add(getattr(adapter, "group_remark", ""))
    names = read_label_map(config.data.label_map) if label_map is None else label_map
    lines, refused = getattr(adapter, "lines", None), None if remarks is None else said.refused
    # A row of a table is one line of it; labels of a tag come with the frames.
    if not tag:
        _read_labels(listed, source, lines, names, refused)
    parts = [expand(listed, config, progress, left_out, said)]
    if tag:
        _read_labels(parts[0], source, None, names, refused)
    if config.data.unlabeled:
        more = read_inputs(config.data.unlabeled, config, progress, left_out, unread=False)
        parts.append(complete(more))
    rows = pd.concat(parts, ignore_index=True)
    if label_map is None and names.names:
        said.add(names.unused(rows["label"].dropna().unique()))
    if remarks is None:
        said.warn()
    return rows


def _read_source(source: Path, config: Config, labels: bool) -> tuple[Adapter, pd.DataFrame]:
    """Find the adapter of a source, and read the rows of its files."""
    adapter, tag = find_adapter(source, config.data), config.data.label_tag
    if isinstance(adapter, CsvAdapter) and (tag or not labels):
        adapter = CsvAdapter(source, config.data, labels=False)
    listed = complete(adapter.read())
    by_table = listed["label"].notna().any() or config.data.label_columns
    if tag and isinstance(adapter, CsvAdapter) and by_table:
        raise DataError(f"{source} has labels, and data.label_tag = '{tag}' asks for those of the "
                        "DICOM headers; leave out one")  # fmt: skip
    return adapter, listed


def _read_labels(
    rows: pd.DataFrame,
    source: Path,
    lines: list[int] | None,
    names: LabelMap,
    refused: dict[str, str] | None,
) -> None:
    """Read the labels of an adapter's rows, whatever adapter it is; see `labels.read_labels`."""

    def place(number: int) -> str:
        image = f"image '{rows['image'].iloc[number]}'"
        return f"{source}, line {lines[number]}" if lines else f"{source}, {image}"

    reasons: dict[int, str] | None = None if refused is None else {}
    rows["label"] = pd.Series(
        read_labels(rows["label"], place, names, reasons), index=rows.index, dtype=object
    )
    if refused is not None:
        refused |= {rows["path"].iloc[number]: why for number, why in (reasons or {}).items()}


def _merge_rows(rows: pd.DataFrame, source: Path) -> pd.DataFrame:
    rows = rows.assign(file=file_numbers(rows))
    repeated = rows[rows.duplicated(_KEY, keep=False)]
    for column in ("label", "group"):
        values = repeated.groupby(_KEY, dropna=False)[column].agg(lambda v: sorted(set(v.dropna())))
        for (file, _), found in zip(values.index, values, strict=True):
            if len(found) > 1:
                image = repeated.loc[repeated["file"] == file, "image"].iloc[0]
                raise DataError(f"{source}: image '{image}' has two {column}s, '{found[0]}' and "
                                f"'{found[1]}'; keep one")  # fmt: skip
    # A labelled row wins over an unlabelled one of the same image.
    rows = rows.sort_values(["file", "label"], na_position="last")
    return rows.drop_duplicates(_KEY, ignore_index=True).drop(columns="file")


def _image_ids(rows: pd.DataFrame, source: Path | None) -> list[str]:
    """Ids of images, "" where the file cannot be read; with a source, a labelled one has to be."""
    ids, missing = [], []
    columns = (rows[name] for name in ("image", "path", "frame", "label"))
    for image, path, frame, label in zip(*columns, strict=True):
        try:
            ids.append(read_identified(path, frame)[1])
        except Exception as error:
            ids.append("")
            if label is not None:
                missing.append((image, reason_of(error)))
    if missing and source is not None:
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
    wrong = given[~given.isin(["train", "valid", "test"])]
    if len(wrong):
        raise DataError(f"{source}: split '{wrong.iloc[0]}' is not allowed; use train, valid, test "
                        "or leave it empty")  # fmt: skip
    sides = rows.dropna(subset=["split", "group"]).groupby("group")["split"].unique()
    both = sides[sides.map(len) > 1]
    if len(both):
        first, second = [s for s in ("train", "valid", "test") if s in both.iloc[0]][:2]
        raise DataError(f"{source}: group '{both.index[0]}' is in both {first} and {second}; a "
                        "patient on both sides makes every result too good")  # fmt: skip
