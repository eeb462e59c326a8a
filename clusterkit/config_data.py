"""Section `data` of the configuration: where images and labels are, and how they are listed."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from clusterkit.config_fields import Check, Doc, Range

# Words for characters that a command line or a settings file holds badly.
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}


def separator_character(text: str) -> str:
    """Character that a setting names as the separator of a table; "": it names none.

    >>> separator_character("tab") == separator_character("\\\\t") == "\\t"
    True
    >>> separator_character(";"), separator_character("comma"), separator_character("x")
    (';', ',', '')
    """
    character = _SEPARATORS.get(text.lower(), text)
    single = len(character) == 1 and (character.isprintable() or character == "\t")
    return "" if not single or character.isalnum() or character in "\"'_-." else character


def _is_separator(value: str) -> bool:
    return value == "auto" or separator_character(value) != ""


def _is_ending(value: str) -> bool:
    return len(value.strip(".")) > 0 and value.isprintable() and not set(value) & set("/\\ ")


def _are_tags(value: list[Any]) -> bool:
    return all(isinstance(tag, str) and tag for tag in value) and len(set(value)) == len(value)


def _are_folders(value: list[Any]) -> bool:
    return all(isinstance(folder, str) and folder for folder in value)


@dataclass
class DataConfig:
    """Where the labelled images are and how their labels are read.

    For DICOM: `label_tag` is the element that holds the label, `keep_tags` are elements whose
    values may be written to runs and tables, and `key_file` holds the key by which patient ids
    are hashed (see `data.pseudonyms`).
    """

    source: Annotated[str | None, Doc("Labelled images: a folder or a CSV.")] = None
    images: Annotated[str | None, Doc("Root of a CSV's image paths; none: the CSV's folder.")] = (
        None
    )
    unlabeled: Annotated[
        str | None, Doc("Folder of more images, without labels, to learn from.")
    ] = None
    label_pattern: Annotated[
        str | None, Doc("Regular expression whose first group is the label in a file's name.")
    ] = None
    image_column: Annotated[str, Doc("Column of a CSV that holds the images' paths.")] = "image"
    label_column: Annotated[
        str, Doc("Column of a CSV that holds the labels; an empty cell: unlabelled.")
    ] = "label"
    group_column: Annotated[
        str, Doc("Column of the patient, slide or smear, never split; 'none': no column is.")
    ] = "group"
    label_tag: Annotated[str | None, Doc("DICOM element that holds the label.")] = None
    keep_tags: Annotated[
        list[str],
        Check(_are_tags, "a list of different keywords or tags, e.g. ['PatientAge']"),
        Doc("DICOM elements whose values may be written to runs and tables."),
    ] = field(default_factory=list)
    key_file: Annotated[
        str | None, Doc("File with the key by which DICOM's patient ids are hashed.")
    ] = None
    max_classes: Annotated[
        int, Range(2, 100_000), Doc("More classes than this are an error: probably file names.")
    ] = 1000
    keep_localizers: Annotated[
        bool, Doc("DICOM localizers (scouts) are images too; else they are left out.")
    ] = False
    label_map: Annotated[
        str | None, Doc("CSV with columns old and new: labels to rename and merge.")
    ] = None
    split_folders: Annotated[
        bool | None,
        Doc("First folders called as a split; true: they are one, false: classes, none: an error."),
    ] = None  # fmt: skip
    follow_links: Annotated[
        bool, Doc("Follow links to folders; links may lead into all folders that are named.")
    ] = False
    link_roots: Annotated[
        list[str],
        Check(_are_folders, "a list of folders"),
        Doc("Folders that links among the images may lead into; means follow_links."),
    ] = field(default_factory=list)
    separator: Annotated[
        str,
        Check(_is_separator, "auto, comma, semicolon, tab, pipe, or one character"),
        Doc("Character between the cells of a table of images; auto: told by its column names."),
    ] = "auto"
    label_columns: Annotated[
        list[str],
        Check(_are_tags, "a list of different columns, e.g. ['MEL', 'NV', 'BCC']"),
        Doc("Columns of a CSV, one a class, of which one holds a 1; empty: label_column counts."),
    ] = field(default_factory=list)
    image_ending: Annotated[
        str | None,
        Check(_is_ending, "an ending such as .jpg"),
        Doc("Ending of the files that a CSV names without one; none: found where only one fits."),
    ] = None
