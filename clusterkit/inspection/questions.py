"""Which label is right? Questions of the page, and the rows of a reviews file that answers are."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from clusterkit.data.frames import name_of
from clusterkit.inspection.findings import Finding, FindingKind
from clusterkit.inspection.scan import Scan

# Labels that have a key.
_KEYS = 9


def label_questions(
    scan: Scan, found: Sequence[tuple[FindingKind, Finding]], shown: frozenset[int]
) -> list[dict[str, Any]]:
    """Return a question for each shown finding that leaves two labels or more open.

    Parameters
    ----------
    found : sequence of (FindingKind, Finding)
        In the order that they are numbered by, from 1.
    shown : frozenset of int
        Numbers of the findings that the page shows.

    Returns
    -------
    For each: finding (its number), labels (at most 9), both (whether each image may be right as it
    is: they look the same and are not the same file), images (image_id, image, label).
    """
    rows, asked = scan.rows, []
    for number, (_, one) in enumerate(found, start=1):
        if len(one.labels) < 2 or number not in shown:
            continue
        images = {
            rows["image_id"].iloc[place]: {
                "image_id": rows["image_id"].iloc[place],
                "image": name_of(rows["image"].iloc[place], rows["frame"].iloc[place]),
                "label": rows["label"].iloc[place] or "",
            }
            for place in one.rows if rows["image_id"].iloc[place]
        }  # fmt: skip
        if images:
            asked.append({"finding": number, "labels": list(one.labels)[:_KEYS],
                          "both": not one.sure, "images": list(images.values())})  # fmt: skip
    return asked


def as_json(questions: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the questions as JSON, and a name of them that answers are kept under."""
    text = json.dumps(questions, ensure_ascii=True)
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]
