"""reviews.csv (DESIGN §6): what a person said of images and clusters, as labels for a fit."""

import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from clusterkit.data.adapters.csv import read_table
from clusterkit.errors import DataError, nearest_name, shown
from clusterkit.formats.csv_text import restore_csv_text
from clusterkit.formats.label_studio import looks_like_json, read_label_studio

REVIEW_COLUMNS = ("image_id", "image", "label", "decision", "reviewer", "time", "note")
DECISIONS = ("accept", "relabel", "reject", "skip")

_NEEDED = ("image_id", "label", "decision")
_CLUSTER = re.compile(r"cluster:([0-9]{1,9})")


@dataclass(frozen=True)
class Assigned:
    """What an earlier `assign` said; reviews are about it.

    Attributes
    ----------
    table : DataFrame
        Columns image, image_id, predicted_label, cluster (Int64) and group of its
        `assignments.csv`; text that is missing is "".
    root : Path
        Where its images are.
    where : str
        The file, for messages.
    """

    table: pd.DataFrame
    root: Path
    where: str


@dataclass(frozen=True)
class Reviews:
    """One reviews file, each row spread over the images that it names.

    Attributes
    ----------
    where : str
        The file.
    rows : DataFrame
        `REVIEW_COLUMNS` as they were written, and `line`, `where`, `cluster` (Int64).
    spread : DataFrame
        One row a reviewed image and row: image_id, decision, label ("" for reject and skip),
        predicted ("" where nothing was), provenance, position (row of `assigned.table`; -1).
    assigned : Assigned or None
    """

    where: str
    rows: pd.DataFrame
    spread: pd.DataFrame
    assigned: Assigned | None


def read_reviews(path: Path | str) -> pd.DataFrame:
    """Read a reviews file and check all that can be checked without the run.

    Parameters
    ----------
    path : path
        CSV or TSV with `REVIEW_COLUMNS`; image, reviewer, time and note may be left out. Or what
        Label Studio exported, see `data.label_studio.read_label_studio`.

    Returns
    -------
    DataFrame with `REVIEW_COLUMNS` (str), `line` (int, the row's or task's number in the file),
    `where` (str, for messages) and `cluster` (Int64: the number where the row names a cluster).

    Raises
    ------
    DataError
        One line that names the file, the line, the value and what to do.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"reviews file {path} does not exist; check the path")
    if looks_like_json(path):
        found, numbers = read_label_studio(path)
        rows, unit = pd.DataFrame(found, columns=list(REVIEW_COLUMNS), dtype=object), "task"
    else:
        rows, numbers = _read_csv(path)
        unit = "line"
    rows["line"] = numbers
    rows["where"] = [f"{path}, {unit} {number}" for number in numbers]
    clusters = [_checked(row, row.where) for row in rows.itertuples(index=False)]
    rows["cluster"] = pd.array(clusters, dtype="Int64")
    return rows


def _read_csv(path: Path) -> tuple[pd.DataFrame, list[int]]:
    names, lines, numbers = read_table(path)
    for column in _NEEDED:
        if column not in names:
            raise DataError(
                f"{path} has no column '{column}'{nearest_name(column, names)}; reviews need "
                f"{', '.join(_NEEDED)}, it has {', '.join(names[:12])[:200]}"
            )
    repeated = [c for c in REVIEW_COLUMNS if names.count(c) > 1]
    if repeated:
        raise DataError(f"{path} has two columns '{repeated[0]}'; keep one")
    cells = {name: [line[i] for line in lines] for i, name in enumerate(names)}
    blank = [""] * len(lines)
    rows = pd.DataFrame(
        {c: [restore_csv_text(v.strip()) for v in cells.get(c, blank)] for c in REVIEW_COLUMNS},
        dtype=object,
    )
    rows["decision"] = rows["decision"].str.lower()
    return rows, numbers


def spread_reviews(path: Path | str, assigned: Assigned | None, labelled: pd.DataFrame) -> Reviews:
    """Read a reviews file and find the images that its rows name.

    Parameters
    ----------
    path : path
    assigned : Assigned or None
        None: clusters and predictions are not known, only labelled images can be named.
    labelled : DataFrame
        image_id and label of the images that are known without `assigned`.

    Raises
    ------
    DataError
        Of `read_reviews`; or a row names an image or a cluster that is not there, or accepts a
        prediction where there is none.
    """
    rows = read_reviews(path)
    known = _Known(assigned, labelled)
    # Only a cluster's last row counts; spreading each would let a small file fill the memory.
    last = rows.dropna(subset=["cluster"]).groupby("cluster")["line"].max().to_dict()
    out = []
    for row in rows.itertuples(index=False):
        where = row.where
        if pd.isna(row.cluster):
            positions, provenance = known.image(row.image_id, where), "reviewed"
        else:
            positions, provenance = known.cluster(row, where), f"cluster:{row.cluster}"
            if row.line != last[row.cluster]:
                continue
        for image_id, position in positions:
            predicted = known.predicted(image_id, position)
            label = row.label if row.decision in ("accept", "relabel") else ""
            if row.decision == "accept" and not label:
                label = predicted
                if not label:
                    raise DataError(
                        f"{where}: image '{image_id}' has no predicted label to accept; write "
                        "relabel and the label, or skip"
                    )
                _check_label(label, where)
            out.append((image_id, row.decision, label, predicted, provenance, position))
    columns = ["image_id", "decision", "label", "predicted", "provenance", "position"]
    return Reviews(str(path), rows, pd.DataFrame(out, columns=columns), assigned)


def settle(reviews: list[Reviews], labelled: pd.DataFrame) -> pd.DataFrame:
    """Decide what holds for each image: one verdict an image.

    Of an image's own rows the last holds; of the cluster rows that name it, the last. Its own
    row beats its cluster's, whichever came later: it says more. For the same reason a cluster's
    name never replaces a label that an image has been given. A skip says nothing: it takes
    back the earlier rows of its kind, so a skipped image still follows its cluster's name, and
    a rejected one does not. Later files count as later rows.

    Parameters
    ----------
    reviews : list of Reviews
    labelled : DataFrame
        image_id and label of the images that are labelled already.

    Returns
    -------
    DataFrame, one row an image that is accepted, relabelled or rejected, in the order first
    named: the columns of `Reviews.spread`, and `file` (index into `reviews`).
    """
    parts = [r.spread.assign(file=i) for i, r in enumerate(reviews)]
    every = pd.concat(parts, ignore_index=True)
    own = every["provenance"] == "reviewed"
    verdicts = []
    for kind in (own, ~own):
        last = every[kind].drop_duplicates("image_id", keep="last")
        verdicts.append(last[last["decision"] != "skip"])
    given = labelled["image_id"][labelled["label"].notna()]
    verdicts[1] = verdicts[1][~verdicts[1]["image_id"].isin(given)]
    settled = pd.concat(verdicts).drop_duplicates("image_id", keep="first")
    first = every.drop_duplicates("image_id").reset_index(drop=True)
    order = pd.Series(first.index, index=first["image_id"])
    return settled.sort_values("image_id", key=lambda ids: ids.map(order), ignore_index=True)


def summarise(
    reviews: list[Reviews], verdicts: pd.DataFrame, labelled: pd.DataFrame
) -> dict[str, object]:
    """Say in plain values what reviews would change.

    Parameters
    ----------
    reviews : list of Reviews
    verdicts : DataFrame
        `settle` of them.
    labelled : DataFrame
        image_id and label of the labelled images that they would change.

    Returns
    -------
    dict: rows and decisions (as written), images (that get a label or lose one), labels (images
    by class), new_classes (name → nearest known name or None), relabelled (images whose label
    is not the predicted one), rejected, labels_taken (labelled images that lose theirs),
    changed_labels (labelled images that get another), accepted_otherwise (accepted with a label
    that is not the one predicted), clusters (number, label, size, taken, file).
    """
    decisions = pd.concat([r.rows["decision"] for r in reviews])
    given = verdicts[verdicts["label"] != ""]
    before = labelled.dropna(subset=["label"]).drop_duplicates("image_id")
    before = before.set_index("image_id")["label"]
    old = verdicts["image_id"].map(before)
    known = sorted(set(before) | {p for r in reviews for p in r.spread["predicted"] if p})
    counts = given["label"].value_counts()
    other = given["label"] != given["predicted"]
    return {
        "files": [Path(r.where).name for r in reviews],
        "rows": len(decisions),
        "decisions": {d: int((decisions == d).sum()) for d in DECISIONS},
        "images": len(verdicts),
        "labels": {label: int(counts[label]) for label in sorted(counts.index)},
        "new_classes": {
            label: _nearest(label, [*known, *sorted(set(counts.index) - {label} - set(known))])
            for label in sorted(set(counts.index) - set(known))
        },
        "relabelled": int(other.sum()),
        "rejected": int((verdicts["decision"] == "reject").sum()),
        "labels_taken": int(((verdicts["decision"] == "reject") & old.notna()).sum()),
        "changed_labels": int(
            (old.notna() & (verdicts["label"] != "") & (old != verdicts["label"])).sum()
        ),
        "accepted_otherwise": int((other & (given["decision"] == "accept")).sum()),
        "clusters": _named_clusters(reviews, verdicts),
    }


def describe(summary: dict) -> list[str]:
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
        lines.append(f"cluster    {named['cluster']}: {what}, {named['taken']} of its "
                     f"{named['size']} images")  # fmt: skip
    if summary["new_classes"]:
        near = {
            k: f" (did you mean '{v}'?)" if v else "" for k, v in summary["new_classes"].items()
        }
        lines.append("new classes: " + ", ".join(f"'{k}'{v}" for k, v in near.items()))
    if summary["rejected"]:
        lines.append("note       errors are measured on labelled images: where the rejected ones "
                     "are the hard ones, what is promised is too good")  # fmt: skip
    if summary["accepted_otherwise"]:
        lines.append(f"note       {summary['accepted_otherwise']} images are accepted with another "
                     "label than predicted: the written label is taken")  # fmt: skip
    return lines


class _Known:
    """Finds the images that a row names."""

    def __init__(self, assigned: Assigned | None, labelled: pd.DataFrame) -> None:
        self.assigned, self.by_id, self.members = assigned, {}, {}
        labels = labelled.sort_values("label", na_position="last").drop_duplicates("image_id")
        self.labels = dict(zip(labels["image_id"], labels["label"], strict=True))
        if assigned is None:
            return
        table = assigned.table
        self.predictions = table["predicted_label"].tolist()
        for position, (identity, number) in enumerate(
            zip(table["image_id"], table["cluster"], strict=True)
        ):
            if not identity:
                continue
            self.by_id.setdefault(identity, position)
            if pd.notna(number):
                self.members.setdefault(int(number), []).append((identity, position))

    def image(self, image_id: str, where: str) -> list[tuple[str, int]]:
        if image_id in self.by_id:
            return [(image_id, self.by_id[image_id])]
        if image_id in self.labels:
            return [(image_id, -1)]
        source = f"{self.assigned.where} or " if self.assigned else ""
        hint = "" if self.assigned else "; put the reviews beside the assignments.csv they are of"
        raise DataError(
            f"{where}: image_id '{shown(image_id)}' is not in {source}the labelled images; copy "
            f"it from the column image_id, or remove the row{hint}"
        )

    def cluster(self, row: tuple, where: str) -> list[tuple[str, int]]:
        if self.assigned is None:
            raise DataError(
                f"{where}: 'cluster:{row.cluster}' needs the assignments.csv that numbers the "
                "clusters; put it beside the reviews file"
            )
        if row.cluster not in self.members:
            have = f"clusters 0 to {max(self.members)}" if self.members else "no clusters"
            raise DataError(
                f"{where}: there is no cluster {row.cluster} in {self.assigned.where}, which has "
                f"{have}; correct the number or remove the row"
            )
        members = self.members[row.cluster]
        images = self.assigned.table["image"]
        # Numbers mean something in one assignments.csv only; an image of the cluster tells.
        if row.image and row.image not in {images.iloc[p] for _, p in members}:
            raise DataError(
                f"{where}: cluster {row.cluster} of {self.assigned.where} does not hold the image "
                f"'{shown(row.image)}' that the row names: it was written for other clusters; "
                "put the reviews beside the assignments.csv they are of"
            )
        return members

    def predicted(self, image_id: str, position: int) -> str:
        found = self.predictions[position] if position >= 0 else self.labels.get(image_id)
        return found if isinstance(found, str) else ""


def _checked(row: tuple, where: str) -> int | None:
    """Check one row by itself; returns the cluster that it names."""
    if not row.image_id:
        raise DataError(f"{where}: no image_id; copy it from assignments.csv, or write cluster:3 "
                        "for the images of cluster 3")  # fmt: skip
    if row.decision not in DECISIONS:
        near = nearest_name(row.decision, DECISIONS)
        raise DataError(f"{where}: decision '{shown(row.decision)}'{near} is not allowed; use "
                        f"{', '.join(DECISIONS)}")  # fmt: skip
    if row.decision == "relabel" and not row.label:
        raise DataError(f"{where}: relabel without a label; write the true label, or reject if it "
                        "is not known")  # fmt: skip
    _check_label(row.label, where)
    if not row.image_id.startswith("cluster:"):
        return None
    match = _CLUSTER.fullmatch(row.image_id)
    if not match:
        raise DataError(f"{where}: '{shown(row.image_id)}' names no cluster; write cluster: and "
                        "a number, e.g. cluster:3")  # fmt: skip
    return int(match[1])


def _check_label(label: str, where: str) -> None:
    if "|" in label:
        raise DataError(f"{where}: label '{shown(label)}' holds '|', which separates labels in "
                        "assignments.csv; use another character")  # fmt: skip
    # Invisible characters (Cf) make two classes of what a person reads as one.
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in label):
        raise DataError(f"{where}: label {shown(label)!r} holds a line break or another "
                        "control character (it may be invisible); write it anew")  # fmt: skip


def _named_clusters(reviews: list[Reviews], verdicts: pd.DataFrame) -> list[dict]:
    out = []
    for i, part in enumerate(reviews):
        rows = part.rows[part.rows["cluster"].notna()].drop_duplicates("cluster", keep="last")
        for row in rows[rows["decision"] != "skip"].itertuples():
            name = f"cluster:{row.cluster}"
            size = part.spread[part.spread["provenance"] == name]["image_id"].nunique()
            taken = (verdicts["file"] == i) & (verdicts["provenance"] == name)
            label = row.label if row.decision in ("accept", "relabel") else ""
            out.append({"cluster": int(row.cluster), "decision": row.decision, "label": label,
                        "size": int(size), "taken": int(taken.sum()),
                        "file": Path(part.where).name})  # fmt: skip
    return out


def _nearest(label: str, known: list[str]) -> str | None:
    """Return the known name that `label` may be a slip of: letters' case and marks aside."""

    def plain(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum()) or text

    names = {plain(k): k for k in reversed(known)}
    match = get_close_matches(plain(label), list(names), n=1, cutoff=0.75)
    return names[match[0]] if match else None
