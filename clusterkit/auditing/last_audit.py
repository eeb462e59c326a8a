"""What the last audit wrote about a table of assignments, for whoever comes after it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.auditing.batch import AuditBatch
from clusterkit.data.guarded_path import open_regular
from clusterkit.data.written_names import relative_folder
from clusterkit.errors import ImageError

_UNCHECKED = "not checked here: `clusterkit audit` checks them."


@dataclass(frozen=True)
class MapsVerdict:
    """What the checks of an audit say about its heat maps.

    Attributes
    ----------
    shown : bool
        False: a check failed, and the maps are no evidence.
    words : str
        A sentence that says so and why, or that nothing was checked.
    """

    shown: bool = True
    words: str = f"Heat maps: {_UNCHECKED}"


def read_metrics(out: Path) -> dict[str, Any]:
    """Return the content of an audit's ``metrics.json``; an empty dict where it is none."""
    try:
        with open_regular(out / "metrics.json") as file:
            metrics = json.load(file)
    except (OSError, ValueError, RecursionError, ImageError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def seen_from(out: Path, csv: Path) -> str:
    """Return the path of a table relative to the page: no path of this machine is written."""
    return relative_folder(csv.absolute(), out.absolute())


def maps_verdict(out: Path, batch: AuditBatch, method: str) -> MapsVerdict:
    """Return what the audit in `out` found of heat maps of this batch, made by this method.

    An audit of other assignments, or of maps made otherwise, says nothing. A file that does not
    name its batch, as earlier ones, is believed where a check failed, and not where none did.
    """
    metrics = read_metrics(out)
    cams = metrics.get("cams")
    if not isinstance(cams, dict) or metrics.get("assignments") != seen_from(out, batch.csv):
        return MapsVerdict()
    named = metrics.get("batch"), cams.get("method")
    failed = cams.get("overlays") == "off" and bool(cams.get("images"))
    if named != (batch.key, method) and not (failed and named == (None, None)):
        return MapsVerdict()
    reason = str(cams.get("reason") or "no reason is given").rstrip(".")
    if failed:
        return MapsVerdict(False, f"Heat maps are left out: {reason}. Ignore them here.")
    if not cams.get("images"):
        return MapsVerdict()
    return MapsVerdict(words=f"Heat maps: {cams.get('verdict')} ({reason}; "
                       f"{cams['images']} images of these were checked).")  # fmt: skip
