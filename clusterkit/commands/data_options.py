"""Options that say where images and labels are, and how they are listed."""

import csv
import re
from functools import wraps
from pathlib import Path
from typing import Any

import click

from clusterkit.commands.options import Command, config_option

# The options that say where labels are, as they are called in `config.data`.
_DATA = ("images", "label_pattern", "image_column", "label_column", "group_column", "label_tag",
         "keep_tags", "unlabeled", "keep_localizers", "label_map", "split_folders", "follow_links",
         "link_roots", "separator", "label_columns", "image_ending")  # fmt: skip


def _split_names(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    """Return names between commas; one that holds a comma stands in double quotes."""
    if text is None:
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def table_options(function: Command) -> Command:
    """Add the options that say how a CSV of images is read; see `listing_settings`."""

    @images_option
    @config_option("--image-column", key="data.image_column", help="Of a CSV: the images' paths")
    @config_option(
        "--group-column",
        key="data.group_column",
        help="Of a CSV: e.g. the patient; none: no column",
    )
    @config_option(
        "--separator",
        key="data.separator",
        metavar="auto|tab|CHAR",
        help="Of a CSV: what separates cells",
    )
    @config_option(
        "--image-ending",
        key="data.image_ending",
        metavar=".jpg",
        help="Of a CSV: ending of files that it names without one",
    )
    @wraps(function)
    def wrapped(**kwargs: Any) -> None:
        function(**kwargs)

    return wrapped  # fmt: skip


def data_options(function: Command) -> Command:
    """Add the options that say where images and labels are; see `data_settings`."""

    @config_option(
        "--label-pattern",
        key="data.label_pattern",
        metavar="REGEX",
        help="Labels from file names, e.g. '^(.+)_\\d+.jpg$'",
    )
    @table_options
    @config_option(
        "--label-column", key="data.label_column", help="Of a CSV: labels, empty where unlabelled"
    )
    @config_option(
        "--label-columns",
        key="data.label_columns",
        callback=_split_names,
        metavar="NAME,…",
        help="Of a CSV: one column a class, each row with one 1",
    )
    @config_option(
        "--label-tag",
        key="data.label_tag",
        metavar="TAG",
        help="DICOM: the element that holds the label",
    )
    @keep_tags_option
    @config_option(
        "--unlabeled", key="data.unlabeled", metavar="DIR", help="More images, without labels"
    )
    @keep_localizers_option
    @label_map_option
    @click.option(
        "--split-folders/--no-split-folders",
        default=None,
        help="Of a folder: its first folders are train, valid and test, and the classes are in "
        "them; or they are the classes. Default: ask where they look so.",
    )
    @link_options
    @wraps(function)
    def wrapped(**kwargs: Any) -> None:
        function(**kwargs)

    return wrapped  # fmt: skip


# Of those, what matters where labels do not: how a table is read, and what files count.
_LISTING = ("images", "image_column", "group_column", "separator", "image_ending", "keep_tags",
            "keep_localizers", "follow_links", "link_roots")  # fmt: skip


def listing_options(function: Command) -> Command:
    """Add the options that say how images without labels are listed; see `listing_settings`."""
    for add in (link_options, keep_localizers_option, keep_tags_option, table_options):
        function = add(function)
    return function


def data_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `data_options` gave a command as arguments of `config.override`."""
    return {f"data__{name}": options[name] for name in _DATA}


def listing_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `listing_options` gave a command as arguments of `config.override`."""
    return {f"data__{name}": options[name] for name in _LISTING}


def images_option(function: Command) -> Command:
    """Add --images, for commands that read a CSV of images."""
    text = "Root of a CSV's image paths"
    return config_option("--images", key="data.images", help=text, otherwise="the CSV's folder")(
        function
    )


def label_map_option(function: Command) -> Command:
    """Add --label-map, for commands that read labels or reviews."""
    text = "Columns old, new: labels to rename and merge"
    return config_option("--label-map", key="data.label_map", metavar="CSV", help=text)(function)


def keep_tags_option(function: Command) -> Command:
    """Add --keep-tags, for commands that read DICOM headers into tables."""

    def split(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
        # A tag's number, (0010,1010), has a comma of its own.
        tags = re.findall(r"\([^)]*\)|[^,()\s]+", text or "")
        return None if text is None else list(dict.fromkeys(tags))

    # The default, an empty list, in words.
    text = "DICOM elements to add as columns; none is written unless named."
    return click.option("--keep-tags", callback=split, metavar="TAG,…", help=text)(function)


def keep_localizers_option(function: Command) -> Command:
    """Add --keep-localizers, for commands that list DICOM files."""

    def given(_: click.Context, __: click.Parameter, flag: bool) -> bool | None:
        # Not given, the config's counts.
        return flag or None

    return click.option("--keep-localizers", is_flag=True, callback=given,
                        help="DICOM: localizers (scouts) are images too.")(function)  # fmt: skip


def link_options(function: Command) -> Command:
    """Add --follow-links and --link-root, for commands that list images."""

    def given(_: click.Context, __: click.Parameter, folders: tuple[Path, ...]) -> list[str] | None:
        return [str(folder) for folder in folders] or None

    follow = click.option(
        "--follow-links",
        is_flag=True,
        default=None,
        help="Follow links to folders, and links into other folders that are named here.",
    )
    roots = click.option(
        "--link-root",
        "link_roots",
        multiple=True,
        type=click.Path(path_type=Path),
        callback=given,
        metavar="DIR",
        help="Links may lead there (DVC's cache, an export's images); may be given again.",
    )
    return follow(roots(function))
