"""Has a fit on reviews become better or worse, and with which reviews?"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.data.labelled import Labelled
from clusterkit.errors import RunError
from clusterkit.formats.held_out_record import HeldOutRecord
from clusterkit.formats.review_place import run_of_assignments
from clusterkit.formats.run import Run
from clusterkit.methods.calibration import Calibration

log = logging.getLogger("clusterkit")

# Fewer images that were held out both times say nothing.
_FEW = 10


def held_out_change(
    against: list[str | None], calibration: Calibration, data: Labelled
) -> dict[str, Any]:
    """Compare held-out images with the run that the reviews are about, and warn of a fall.

    Compared are images that both runs held out, under the same label: what reviews add is often
    harder, and would lower any average. The fall is put down to the reviews that gave the labels
    which images that were right before are wrongly called now. A fall that may be chance is none.

    Parameters
    ----------
    against : list of str or None
        The assignments that each reviews file is about.
    calibration : Calibration
        Of the new fit.
    data : Labelled
        What it learned from, with `provenance`.

    Returns
    -------
    dict: images, right_before, right_after, and fell_with: a list of label, wrong_now (images) and
    reviews (provenance → images that were given the label by them). {} without a run to compare
    with, or where fewer than 10 images can be compared.
    """
    runs = [found for one in against if (found := _earlier(one)) is not None]
    if not runs:
        return {}
    earlier = runs[-1]
    now = pd.DataFrame({
        "image_id": data.rows["image_id"].to_numpy()[calibration.rows],
        "label": np.array(data.classes, dtype=object)[calibration.labels],
        "says": np.array(data.classes, dtype=object)[calibration.predicted],
    }).drop_duplicates("image_id")  # fmt: skip
    both = earlier.merge(now, on=["image_id", "label"], suffixes=("_before", ""))
    if len(both) < _FEW:
        return {}
    before, after = both["says_before"] == both["label"], both["says"] == both["label"]
    record: dict[str, Any] = {"images": len(both), "right_before": int(before.sum()),
                              "right_after": int(after.sum()), "fell_with": []}  # fmt: skip
    lost = both["says"][before & ~after].value_counts()
    if _may_be_chance(int(lost.sum()), int((~before & after).sum())):
        return record
    record["fell_with"] = [_given_by(str(label), int(count), data) for label, count in lost.items()]
    _warn(record)
    return record


def _may_be_chance(lost: int, gained: int) -> bool:
    """Whether so many more lost than gained are no surprise: the exact sign test of McNemar (1947,
    doi:10.1007/BF02295996), one-sided at 5%.
    """
    from scipy.stats import binomtest

    return lost <= gained or binomtest(lost, lost + gained, 0.5, "greater").pvalue > 0.05


def _earlier(assignments: str | None) -> pd.DataFrame | None:
    """Return image_id, label and says of the images that the earlier run held out."""
    made_by = None if assignments is None else run_of_assignments(Path(assignments).parent)
    if made_by is None:
        return None
    try:
        held = HeldOutRecord.of(Run.load(made_by))
    except RunError as error:
        log.info("nothing is compared with an earlier run: %s", error)
        return None
    names = np.array(held.classes, dtype=object)
    found = {"image_id": held.ids, "label": names[held.labels], "says": names[held.predicted]}
    return pd.DataFrame(found).drop_duplicates("image_id")


def _given_by(label: str, count: int, data: Labelled) -> dict[str, Any]:
    own = data.rows["provenance"][(data.rows["label"] == label)]
    reviews = own[own != "given"].value_counts()
    return {"label": label, "wrong_now": count,
            "reviews": {str(name): int(n) for name, n in reviews.items()}}  # fmt: skip


def _warn(record: dict[str, Any]) -> None:
    reasons = [
        f"{one['wrong_now']} are called '{one['label']}' now, which "
        + (", ".join(_words(name, n) for name, n in one["reviews"].items()) or "no review gave")
        for one in record["fell_with"]
    ]
    log.warning(
        "held-out images have become worse with these reviews: of %d that were held out before "
        "too, %d were right and %d are now; %s. Look at those reviews again",
        record["images"], record["right_before"], record["right_after"], "; ".join(reasons),
    )  # fmt: skip


def _words(provenance: str, n: int) -> str:
    kind, _, number = provenance.partition(":")
    images = f"{n} image{'s' * (n != 1)}"
    if kind == "cluster":
        return f"the name of cluster {number} gave {images}"
    return f"reviews of single images gave {images}"
