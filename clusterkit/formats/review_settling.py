"""The review that holds for each image, and a summary of what reviews would change."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from clusterkit.data.labels import near_hint, nearest_label
from clusterkit.formats.cluster_trust import checked_members
from clusterkit.formats.review_disagreements import describe_said, summarise_said
from clusterkit.formats.review_said import Said, said_in
from clusterkit.formats.reviews import DECISIONS, Reviews


class SettledReview(NamedTuple):
    """The decision that holds for one image: a row of `settle`.

    Attributes
    ----------
    image_id : str
    decision : {"accept", "relabel", "reject"}
    label : str
        "" for reject.
    predicted : str
        "" where nothing was.
    provenance : str
        ``reviewed``, or ``cluster:<n>``.
    position : int
        Row of the assignments that the review is about; -1 where it is not in them.
    file : int
        Index of its file.
    """

    image_id: str
    decision: str
    label: str
    predicted: str
    provenance: str
    position: int
    file: int


def settle(reviews: list[Reviews], labelled: pd.DataFrame) -> pd.DataFrame:
    """Return the decision that holds for each image.

    Of an image's own rows the last holds, and so it is of the rows of its cluster; which is the
    last, and what a skip takes back, is said in `review_answers.hold`. Its own row beats its
    cluster's, whichever came later: it is about this image. For the same reason a cluster's name
    never replaces a label that an image has been given, nor one that a person answered in the
    check for a certificate. A skipped image still follows its
    cluster's name, and a rejected one does not. Later files count as later rows.

    Parameters
    ----------
    reviews : list of Reviews
    labelled : DataFrame
        image_id and label of the images that are labelled already.

    Returns
    -------
    DataFrame with the columns of `SettledReview`: one row per image that is accepted, relabelled
    or rejected, in the order first named.
    """
    said = said_in(reviews)
    given = labelled["image_id"][labelled["label"].notna()]
    named = said.by_cluster[~said.by_cluster["image_id"].isin(_answered(reviews).union(given))]
    settled = pd.concat([said.own.iloc[said.own_held], named])
    settled = settled.drop_duplicates("image_id", keep="first")[list(SettledReview._fields)]
    ids = pd.concat([r.spread["image_id"] for r in reviews])
    first = ids.drop_duplicates().reset_index(drop=True)
    order = pd.Series(first.index, index=first)
    return settled.sort_values("image_id", key=lambda ids: ids.map(order), ignore_index=True)


def _answered(reviews: list[Reviews]) -> set[str]:
    """Return the ids of images whose label in the assignments is what a person answered."""
    return {i for r in reviews if r.assigned for i in r.assigned.answered}


def settled_rows(settled: pd.DataFrame) -> list[SettledReview]:
    """Return the rows of `settle`, each as a record."""
    cells = (settled[name].tolist() for name in SettledReview._fields)
    return [SettledReview(*row) for row in zip(*cells, strict=True)]


def summarise(
    reviews: list[Reviews], settled: pd.DataFrame, labelled: pd.DataFrame
) -> dict[str, Any]:
    """Return in plain values what reviews would change.

    Parameters
    ----------
    reviews : list of Reviews
    settled : DataFrame
        `settle` of them.
    labelled : DataFrame
        image_id and label of the labelled images that they would change.

    Returns
    -------
    dict: rows and decisions (as written), images (that get a label or lose one), labels (images
    by class), new_classes (name → nearest known name or None), relabelled (images whose label
    is not the predicted one), rejected, labels_taken (labelled images that lose theirs),
    changed_labels (labelled images that get another), accepted_otherwise (accepted with a label
    that is not the one predicted), clusters (number, decision, label, size, taken, looked_at and
    agreeing as of `cluster_trust`, file); and those of `review_disagreements.summarise_said`.
    """
    said = said_in(reviews)
    decisions = pd.concat([r.rows["decision"] for r in reviews])
    given = settled[settled["label"] != ""]
    labels = labelled.dropna(subset=["label"]).drop_duplicates("image_id")
    before = dict(zip(labels["image_id"], labels["label"], strict=True))
    old = settled["image_id"].map(before)
    # A label that a person answered in a check is not one that the model knows.
    spread = pd.concat([r.spread for r in reviews])
    predicted = spread["predicted"][~spread["image_id"].isin(_answered(reviews))]
    known = sorted({*before.values(), *predicted} - {""})
    counts = Counter(given["label"].tolist())
    other = given["label"] != given["predicted"]
    return {
        "files": [Path(r.where).name for r in reviews],
        "rows": len(decisions),
        "decisions": {d: int((decisions == d).sum()) for d in DECISIONS},
        "images": len(settled),
        "labels": dict(sorted(counts.items())),
        "new_classes": {
            label: nearest_label(label, [*known, *sorted(set(counts) - {label} - set(known))])
            for label in sorted(set(counts) - set(known))
        },
        "relabelled": int(other.sum()),
        "rejected": int((settled["decision"] == "reject").sum()),
        "labels_taken": int(((settled["decision"] == "reject") & old.notna()).sum()),
        "changed_labels": int(
            (old.notna() & (settled["label"] != "") & (old != settled["label"])).sum()
        ),
        "accepted_otherwise": int((other & (given["decision"] == "accept")).sum()),
        "clusters": _named_clusters(said, reviews, settled),
        **summarise_said(said, reviews, settled),
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Turn `summarise`'s dict into lines for a person."""
    decisions = ", ".join(f"{n} {d}" for d, n in summary["decisions"].items() if n)
    lines = [f"rows       {summary['rows']}: {decisions}"]
    labels = ", ".join(f"{label}: {n}" for label, n in summary["labels"].items())
    lines.append(
        f"labels     {sum(summary['labels'].values())} images" + (f" ({labels})" * bool(labels))
    )
    lines.append(f"changes    {summary['relabelled']} not as predicted, {summary['rejected']} "
                 f"rejected; of the labelled images {summary['changed_labels']} get another label "
                 f"and {summary['labels_taken']} lose theirs")  # fmt: skip
    for named in summary["clusters"]:
        what = named["label"] or named["decision"]
        looked = f"{named['looked_at']} were looked at by themselves, {named['agreeing']} agree"
        if not named["looked_at"]:
            looked = "none was looked at by itself, so the name counts half"
        lines.append(f"cluster    {named['cluster']}: {what}, {named['taken']} of its "
                     f"{named['size']} images" + f"; {looked}" * bool(named["label"]))  # fmt: skip
    lines += describe_said(summary)
    if summary["new_classes"]:
        asked = [f"'{label}'{near_hint(label, near)}"
                 for label, near in summary["new_classes"].items()]  # fmt: skip
        lines.append("new classes: " + ", ".join(asked))
    if summary["rejected"]:
        lines.append("note       errors are measured on labelled images: where the rejected ones "
                     "are the hard ones, what is promised is too good")  # fmt: skip
    if summary["accepted_otherwise"]:
        lines.append(f"note       {summary['accepted_otherwise']} images are accepted with another "
                     "label than predicted: the written label is taken")  # fmt: skip
    return lines


def _named_clusters(
    said: Said, reviews: list[Reviews], settled: pd.DataFrame
) -> list[dict[str, Any]]:
    out = []
    for row in said.clusters_held.to_dict("records"):
        file, name = int(row["file"]), f"cluster:{row['cluster']}"
        size = reviews[file].members(row["row"])["image_id"].nunique()
        taken = (settled["file"] == file) & (settled["provenance"] == name)
        checked = checked_members(reviews[file], settled, int(row["cluster"]))
        out.append({"cluster": int(row["cluster"]), "decision": row["decision"],
                    "label": row["label"], "size": int(size), "taken": int(taken.sum()),
                    "looked_at": checked.looked_at, "agreeing": checked.agreeing,
                    "file": Path(reviews[file].where).name})  # fmt: skip
    return out
