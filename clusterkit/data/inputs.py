"""Inputs of `assign`: one row per image, labels or not."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from clusterkit.config import Config, DataConfig
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.adapters.dicomdir import DicomdirAdapter
from clusterkit.data.frames import expand
from clusterkit.data.guarded_path import GuardedPath
from clusterkit.data.left_out import REFUSED, UNREAD, LeftOut
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.listing import list_images
from clusterkit.data.manifest_rows import complete, file_numbers, sort_rows, whole_config
from clusterkit.data.remote_listing import list_remote
from clusterkit.data.remote_places import Place, RemoteLocation, place_of
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError
from clusterkit.progress import Progress


def read_inputs(
    source: Place | str,
    config: Config | DataConfig | None = None,
    progress: Progress | None = None,
    left_out: LeftOut | None = None,
    unread: bool = True,
) -> pd.DataFrame:
    """Rows of the images to assign; of files that can hold several, the header is read.

    Parameters
    ----------
    source : path or URL
        A folder (searched to the bottom), a CSV, a DICOMDIR, or one image; or the URL of a folder
        or an image in a store, see `remote_places.place_of`.
    left_out : LeftOut or None
        Counts the files that become no row.
    unread : bool
        Images of types that are not read are rows too: a clinic gets one for every picture, with
        the reason. So are rows of a CSV whose path is not followed, unless none is.

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
    config = _without_labels(whole_config(config))
    source = place_of(source)
    if isinstance(source, Path) and not source.exists():
        raise DataError(f"{source} does not exist; give a folder of images or a CSV")
    left_out = LeftOut() if left_out is None else left_out
    listed = complete(_list_inputs(source, config.data, left_out, unread))
    rows = expand(listed, config, progress, left_out)
    columns = ["image", "path", "group", "frame", *config.data.keep_tags]
    if _in_order(rows):
        return rows[columns]
    rows = rows.assign(file=file_numbers(rows))
    groups = rows.groupby(["file", "frame"], dropna=False)["group"].nunique()
    if (groups > 1).any():
        file, _ = groups.index[int(groups.to_numpy().argmax())]
        image = rows["image"][rows["file"] == file].iloc[0]
        raise DataError(f"{source}: image '{image}' is in two groups; keep one")
    rows = rows.sort_values("group", na_position="last", kind="stable")
    rows = sort_rows(rows.drop_duplicates(["file", "frame"]))
    return rows[columns]


def _in_order(rows: pd.DataFrame) -> bool:
    """Whether rows are of a file each, and sorted, as a folder of plain images is listed.

    Of a million rows, sorting takes more memory than they do.
    """
    images, paths = rows["image"], rows["path"]
    sorted_ = all(one < other for one, other in pairwise(images))
    return sorted_ and len(set(paths)) == len(paths)


def input_folder(source: Place, config: DataConfig) -> Place:
    """Folder that the names of an input's images are relative to."""
    if not source.is_file():
        return source
    return place_of(config.images) if config.images else source.parent


def _list_inputs(
    source: Place, config: DataConfig, left_out: LeftOut, unread: bool
) -> pd.DataFrame:
    if isinstance(source, RemoteLocation):
        images, paths = list_remote(source, left_out, unread)
        return pd.DataFrame({"image": images, "path": paths, "group": None}, dtype=object)
    if CsvAdapter.accepts(source, config):
        return CsvAdapter(source, config, labels=False, keep_refused=unread).read()
    if DicomdirAdapter.accepts(source, config):
        return DicomdirAdapter(source, config).read()
    if source.is_file():
        images, paths = [written_name(source.name)], [str(source.absolute())]
    else:
        found = list_images(source, left_out, LinkRules.of(config, source), unread)
        images, paths = found.images, found.paths
    return pd.DataFrame({"image": images, "path": paths, "group": None}, dtype=object)


def not_read(rows: pd.DataFrame) -> LeftOut:
    """Count the rows whose files are not read, for their type or their path."""
    found = LeftOut()
    for image, path in zip(rows["image"], rows["path"], strict=True):
        if isinstance(path, GuardedPath) and path.reason:
            found.add(image, REFUSED if path.refused else UNREAD)
    return found


def _without_labels(config: Config) -> Config:
    """Configuration without a label tag: images to assign have no labels to read."""
    return replace(config, data=replace(config.data, label_tag=None))
