"""The finding about files that are no rows: types that are not read, links, and others."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from clusterkit.data.left_out import WANTED, LeftOut
from clusterkit.inspection.findings import COLUMNS, Finding, FindingKind
from clusterkit.inspection.same_pictures import SamePictures
from clusterkit.inspection.scan import Scan


def _none(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    return iter(())


LEFT_OUT = FindingKind(
    "left_out",
    "problem",
    "Files that are left out",
    "Files of the folder that are no images, or images of types that are not read, and links that "
    "are not followed: nothing is learned from them. A problem where they look like images, a note "
    "where they do not.",
    _none,
)


def with_left_out(table: pd.DataFrame, left_out: LeftOut, found: int) -> pd.DataFrame:
    """Add a finding for each reason to a table of findings, with a row for each ending.

    Parameters
    ----------
    table : DataFrame
        See `to_table`.
    left_out : LeftOut
    found : int
        Number of the findings that are there.
    """
    rows = []
    # Problems first, as everywhere.
    reasons = sorted(left_out.counts, key=lambda reason: reason not in WANTED)
    for number, reason in enumerate(reasons, found + 1):
        own = LeftOut.of_record({reason: left_out.counts[reason]})
        severity = LEFT_OUT.severity if reason in WANTED else "note"
        rows.append({"finding": number, "kind": LEFT_OUT.name, "severity": severity,
                     "image": left_out.examples[reason], "image_id": "", "label": "", "group": "",
                     "split": "", "score": np.nan, "detail": own.sentences()[0]})  # fmt: skip
    if not rows:
        return table
    added = pd.DataFrame(rows, columns=COLUMNS).astype({"finding": int, "score": float})
    return added if table.empty else pd.concat([table, added], ignore_index=True)
