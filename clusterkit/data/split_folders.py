"""Folders that are no classes: those of a split, or others that stand above the classes."""

import re
from collections import Counter
from pathlib import Path
from shlex import quote

from clusterkit.errors import DataError

_ROLES = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "val", "validation", "validate", "validating", "dev", "devel",
              "development", "eval", "evaluation"),
    "test": ("test", "tests", "testing", "tst", "holdout", "heldout", "holdouts"),
    "labeled": ("labeled", "labelled", "annotated"),
    "unlabeled": ("unlabeled", "unlabelled", "unannotated", "nolabel", "nolabels", "unsup",
                  "unsupervised"),
}  # fmt: skip
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}

# What is put behind them: train_set, Training-Data, val2017.
_MORE = re.compile(r"(set|data|dataset|images?|imgs?|pics|split|samples|part)?\d*$")

# From so many names with digits on they are patients or slides rather than classes.
_FEW_NUMBERED = 5

# Names that a message holds.
_NAMED = 6


class SplitFoldersError(DataError):
    """The first folders of a data set are no classes, as far as their names tell."""


def split_role(name: str) -> str | None:
    """Return what a folder's name says of its images; None: nothing.

    >>> [split_role(n) for n in ("Train", "val2017", "Hold-Out", "test_set", "unlabelled", "ring")]
    ['train', 'valid', 'test', 'test', 'unlabeled', None]
    """
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return _ROLE_OF.get(plain) or _ROLE_OF.get(_MORE.sub("", plain))


def check_class_folders(source: Path, images: list[str]) -> None:
    """Check that the first folders of images are classes.

    Parameters
    ----------
    source : Path
    images : list of str
        Names relative to it.

    Raises
    ------
    SplitFoldersError
        Some are called as a split is; most hold folders of the same names, which will be the
        classes; or there is one alone, and the classes are in it.
    """
    inner: dict[str, set[str]] = {}
    for image in images:
        parts = image.split("/", 2)
        if len(parts) > 1:
            below = inner.setdefault(parts[0], set())
            if len(parts) == 3:
                below.add(parts[1])
    splits = [name for name in sorted(inner) if split_role(name)]
    if splits:
        raise SplitFoldersError(f"{source}: the {_folders(splits)} like a split and not like "
                                f"classes; {_ways_out(source, splits, inner)}")  # fmt: skip
    _check_wrapper(source, images, inner)
    common = _common_names(inner)
    if common:
        holders = [name for name in sorted(inner) if len(inner[name] & common) > 1]
        classes, first = _listed(sorted(common)), _listed(holders)
        raise SplitFoldersError(
            f"{source}: the folders {first} hold folders of the same names ({classes}): are these "
            f"the classes? give {quote(str(source / holders[0]))}, or --split-folders to take them "
            f"as the classes (--no-split-folders: {first} are the classes)"
        )


def _check_wrapper(source: Path, images: list[str], inner: dict[str, set[str]]) -> None:
    """Check that the classes do not stand in a single folder: ``images/ring``, ``images/rod``."""
    if len(inner) != 1 or not all(image.count("/") > 1 for image in images):
        return
    (name, below), *_ = inner.items()
    # Patients or slides of one class are no classes.
    if len(below) > 1 and sum(any(c.isdigit() for c in n) for n in below) <= len(below) / 2:
        raise SplitFoldersError(
            f"{source}: all images are in the folder {name}, in folders of their own "
            f"({_listed(sorted(below))}): are these the classes? give "
            f"{quote(str(source / name))} (--no-split-folders: {name} is all of the classes)"
        )


def split_and_label(image: str) -> tuple[str | None, str | None]:
    """Return split and label of an image whose first folder is the split.

    >>> split_and_label("Val/ring/1.png"), split_and_label("unlabeled/x/1.png")
    (('valid', 'ring'), (None, None))
    """
    parts = image.split("/")
    role = split_role(parts[0]) if len(parts) > 1 else None
    label = parts[1].strip() or None if len(parts) > 2 and role != "unlabeled" else None
    return (role if role in ("train", "valid", "test") else None), label


def _common_names(inner: dict[str, set[str]]) -> set[str]:
    """Return names of folders that at least half of the first folders hold two or more of."""
    counts = Counter(name for below in inner.values() for name in below)
    common = {name for name, n in counts.items() if n > 1}
    holders = sum(len(below & common) > 1 for below in inner.values())
    numbered = sum(any(c.isdigit() for c in name) for name in counts)
    if holders < 2 or 2 * holders < len(inner) or 2 * len(common) < len(counts):
        return set()
    return set() if numbered > max(_FEW_NUMBERED, len(counts) / 2) else common


def _ways_out(source: Path, splits: list[str], inner: dict[str, set[str]]) -> str:
    role_of = {split_role(name): name for name in reversed(splits) if inner[name]}
    first = role_of.get("train") or role_of.get("labeled") or next(iter(role_of.values()), None)
    classes = "(--no-split-folders: they are the classes)"
    if first is None:
        return ("and there are no class folders in them: give a CSV with columns image and label "
                + classes)  # fmt: skip
    unlabeled = next((name for name in splits if split_role(name) == "unlabeled"), None)
    more = (
        f" --unlabeled {quote(str(source / unlabeled))}" if unlabeled and unlabeled != first else ""
    )
    return (f"give {quote(str(source / first))}{more}, or --split-folders to take them as the "
            f"split and the folders in them as the classes {classes}")  # fmt: skip


def _folders(names: list[str]) -> str:
    return f"folder {names[0]} looks" if len(names) == 1 else f"folders {_listed(names)} look"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
