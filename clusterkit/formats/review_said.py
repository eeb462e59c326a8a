"""What reviews say of images and of clusters, brought together over all files."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clusterkit.formats.review_answers import Contested, hold
from clusterkit.formats.reviews import Reviews

# What `hold` needs of a row.
_ROW = ["decision", "reviewer", "time", "ground_truth"]

# What the page notes where the other reader's answer was in sight.
_SETTLES = r"(?:^|; )settled$"


@dataclass(frozen=True)
class Said:
    """Rows about images, and rows about clusters; which hold, and which were contested.

    Attributes
    ----------
    own : DataFrame
        One row for each row about an image: the columns of `Reviews.spread`, file (index), key,
        reviewer, time, ground_truth, settles (whether it was given with another's in sight).
    own_held : (M,) int
        Positions in `own` of the rows that hold.
    own_contested : list of Contested
    clusters : DataFrame
        One row for each row about a cluster: file, row, key, cluster, decision, label, reviewer,
        time, ground_truth.
    clusters_contested : list of Contested
    clusters_held : DataFrame
        The rows of `clusters` that hold.
    by_cluster : DataFrame
        One row for each image of a cluster that a row holds for: as `own`.
    """

    own: pd.DataFrame
    own_held: np.ndarray
    own_contested: list[Contested]
    clusters: pd.DataFrame
    clusters_contested: list[Contested]
    clusters_held: pd.DataFrame
    by_cluster: pd.DataFrame


def said_in(reviews: list[Reviews]) -> Said:
    """Bring the rows of all files together, in their order."""
    own = pd.concat([_own(part, i) for i, part in enumerate(reviews)], ignore_index=True)
    clusters = pd.concat([_clusters(part, i) for i, part in enumerate(reviews)], ignore_index=True)
    own_held, own_contested = hold(own)
    held, contested = hold(clusters)
    clusters_held = clusters.iloc[held]
    members = [_members(reviews[row["file"]], row) for row in clusters_held.to_dict("records")]
    by_cluster = pd.concat([own.iloc[:0], *members], ignore_index=True)
    # Two assignments.csv may have an image in common.
    by_cluster = by_cluster.iloc[hold(by_cluster)[0]]
    return Said(own, own_held, own_contested, clusters, contested, clusters_held, by_cluster)


def _own(part: Reviews, file: int) -> pd.DataFrame:
    own = part.spread[part.spread["provenance"] == "reviewed"]
    rows = part.rows.iloc[own["row"].to_numpy(dtype=int)]
    return own.assign(
        file=file,
        key=own["image_id"],
        reviewer=rows["reviewer"].to_numpy(),
        time=rows["time"].to_numpy(),
        ground_truth=(rows["ground_truth"] == "yes").to_numpy(),
        settles=rows["note"].str.contains(_SETTLES).to_numpy(dtype=bool),
    )


def _clusters(part: Reviews, file: int) -> pd.DataFrame:
    rows = part.rows[part.rows["cluster"].notna()]
    of = part.assigned.fingerprint if part.assigned and len(rows) else ""
    named = rows["decision"].isin(["accept", "relabel"])
    return pd.DataFrame(
        {
            "file": file,
            "row": rows.index,
            # A number means something in one assignments.csv only.
            "key": [f"{of} cluster:{number}" for number in rows["cluster"]],
            "cluster": rows["cluster"].to_numpy(),
            "label": rows["label"].where(named, "").to_numpy(),
            **{name: rows[name].to_numpy() for name in _ROW},
        }
    ).assign(ground_truth=(rows["ground_truth"] == "yes").to_numpy())


def _members(part: Reviews, row: dict) -> pd.DataFrame:
    """Return the images of a cluster, as the row about it says."""
    members = part.members(row["row"])
    accepted = row["decision"] == "accept" and not row["label"]
    return members.assign(
        file=row["file"],
        key=members["image_id"],
        row=row["row"],
        label=members["predicted"] if accepted else row["label"],
        **{name: row[name] for name in _ROW},
    )
