"""Numbers of images by class, group, split and size."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

# Groups and sizes that are named; the others are counted together.
_NAMED = 10


def count_all(rows: pd.DataFrame, said: Sequence[str] = ()) -> dict[str, Any]:
    """Count images by class, group, split and size.

    Parameters
    ----------
    rows : DataFrame
        See `Scan.rows`.
    said : sequence of str
        Further remarks.

    Returns
    -------
    dict of plain values: images, unlabelled, classes {label: n}, groups {count, without, smallest,
    median, largest, named {group: n}}, splits {split: n}, sizes {count, named {"W x H": n}},
    colour, grey, and remarks: sentences about what `fit` would refuse or warn of.
    """
    readable = rows[rows["error"] == ""]
    colour = int(readable["colour"].sum())
    sizes = readable["width"].astype(str) + " x " + readable["height"].astype(str)
    classes = _counts(rows["label"])
    splits = _counts(rows["split"])
    return {
        "images": len(rows),
        "readable": len(readable),
        "unlabelled": int(rows["label"].isna().sum()),
        "classes": classes,
        "groups": _groups(rows["group"]),
        "splits": splits,
        "sizes": {"count": int(sizes.nunique()), "named": _most(sizes)},
        "colour": colour,
        "grey": len(readable) - colour,
        "remarks": [*_remarks(classes, splits), *said],
    }


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(k): int(n) for k, n in values.value_counts().sort_index().items()}


def _most(values: pd.Series) -> dict[str, int]:
    counts = values.value_counts()
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {str(k): int(n) for k, n in order[:_NAMED]}


def _groups(groups: pd.Series) -> dict[str, Any]:
    counts = groups.value_counts()
    if counts.empty:
        return {"count": 0, "without": len(groups)}
    return {
        "count": len(counts),
        "without": int(groups.isna().sum()),
        "smallest": int(counts.min()),
        "median": float(counts.median()),
        "largest": int(counts.max()),
        "named": _most(groups.dropna()),
    }


def _remarks(classes: dict[str, int], splits: dict[str, int]) -> list[str]:
    remarks = []
    others = [split for split in splits if split not in ("train", "valid", "test")]
    if others:
        remarks.append(f"fit does not take the split '{others[0]}': it knows train, valid "
                       "and test")  # fmt: skip
    single = [label for label, n in classes.items() if n == 1]
    if single:
        remarks.append(f"{len(single)} classes have one labelled image only, e.g. '{single[0]}': "
                       "nothing can be known of their errors")  # fmt: skip
    if len(classes) == 1:
        remarks.append("there is one class only; fit needs two")
    piped = [label for label in classes if "|" in label]
    if piped:
        remarks.append(f"fit does not take the label '{piped[0]}': '|' separates labels")
    return remarks
