"""What people answered about the images of a sample, and about others."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from clusterkit.errors import DataError
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_answers import Contested, read_time, reviewer_key
from clusterkit.formats.review_said import Said, said_in
from clusterkit.formats.reviews import Reviews, spread_reviews

log = logging.getLogger("clusterkit")

ANSWER_COLUMNS = ("image_id", "image", "predicted_label", "label", "decision", "agrees", "disputed",
                  "in_sample", "reviewer", "time", "note")  # fmt: skip

NO_NAME = "(no name)"

_AGAIN = re.compile(r"(?:^|; )asked again: (.*?)(?:; |$)")
CANNOT_TELL, SHOWN, UNDONE = "can't tell", "label shown", "undone"


@dataclass(frozen=True)
class Answers:
    """The answers of one or more readers.

    Attributes
    ----------
    table : DataFrame
        `ANSWER_COLUMNS`, one row for each image that somebody answered, in the order of the sample
        and then of the rows. `label` is "" where nobody could tell; `agrees` is True where the
        label that was set stands undisputed; `disputed` names who said what where readers
        disagree and nobody has settled it.
    by_reader : DataFrame
        image_id, reviewer, label: each reader's own last answer about an image of the sample.
    older, outside, clusters : int
        Rows about images of the sample that are older than it and do not count; images outside the
        sample; rows about clusters.
    repeated, repeated_same : int
        Images that were asked once more, and those that got the same answer.
    shown, undone : int
        Answers given after the label was uncovered, and answers that were taken back.
    """

    table: pd.DataFrame
    by_reader: pd.DataFrame
    older: int
    outside: int
    clusters: int
    repeated: int
    repeated_same: int
    shown: int
    undone: int

    @property
    def readers(self) -> list[str]:
        """Who answered images of the sample, in the order of their names."""
        return sorted(set(self.by_reader["reviewer"]))


def read_answers(
    files: Sequence[Path | str],
    assigned: Assigned,
    labelled: pd.DataFrame,
    sample: Sequence[str],
    drawn: str,
) -> Answers:
    """Read answers from reviews files, and match them with a sample.

    Parameters
    ----------
    files : sequence of path
        As `read_reviews` takes them; later ones count as later rows.
    assigned : Assigned
        The labels as `assign` set them.
    labelled : DataFrame
        image_id and label of the run's labelled images.
    sample : sequence of str
        The sample's image_ids in their order.
    drawn : str
        When it was drawn, ISO 8601 in UTC.

    Raises
    ------
    DataError
        A file cannot be used; or a row names an image that is none of this batch.
    """
    reviews = [spread_reviews(file, assigned, labelled) for file in files]
    places = {identity: i for i, identity in enumerate(sample)}
    kept = [_younger(part, set(places), drawn) for part in reviews]
    older = sum(len(a.spread) - len(b.spread) for a, b in zip(reviews, kept, strict=True))
    said = said_in(kept)
    table = _table(said, kept, assigned, places)
    notes = pd.concat([_notes(part) for part in kept], ignore_index=True)
    notes = notes[notes["image_id"].isin(places)]
    again = notes["note"].str.extract(_AGAIN, expand=False)
    first = notes["label"].where(notes["label"] != "", CANNOT_TELL)
    asked = again.notna() & notes["decision"].ne("skip")
    return Answers(
        table,
        _by_reader(said, places),
        older=older,
        outside=int((~table["in_sample"]).sum()),
        clusters=sum(int(part.rows["cluster"].notna().sum()) for part in reviews),
        repeated=int(asked.sum()),
        repeated_same=int((asked & (again == first)).sum()),
        shown=int((notes["note"].str.contains(SHOWN, regex=False) & ~asked).sum()),
        undone=int((notes["decision"] == "skip").sum()),
    )


def cannot_tell(note: str) -> bool:
    """Whether the note of a rejected label says that the reader could not tell."""
    return note.strip().lower().startswith(CANNOT_TELL)


def check_complete(answers: Answers, before: Sequence[str], where: str) -> None:
    """Check that no answer of an earlier certificate has gone.

    Raises
    ------
    DataError
        One has.
    """
    lost = sorted(set(before) - set(answers.table["image_id"]))
    if lost:
        raise DataError(
            f"{len(lost)} answers that the certificate rests on, e.g. about image '{lost[0]}', are "
            f"not in the reviews that are given; give theirs too, or the copy: --reviews {where}"
        )


def _younger(part: Reviews, sample: set[str], drawn: str) -> Reviews:
    """Leave out rows about images of the sample that are older than it."""
    begun = read_time(drawn)
    rows = part.rows["time"].iloc[part.spread["row"].to_numpy(dtype=int)]
    stamps = [read_time(text) for text in rows]
    old = pd.Series(
        [
            begun is not None and stamp is not None and stamp.kind == "zoned" and stamp < begun
            for stamp in stamps
        ],
        index=part.spread.index,
        dtype=bool,
    )
    keep = ~(old & part.spread["image_id"].isin(sample))
    return replace(part, spread=part.spread[keep])


def _notes(part: Reviews) -> pd.DataFrame:
    own = part.spread[part.spread["provenance"] == "reviewed"]
    rows = part.rows.iloc[own["row"].to_numpy(dtype=int)]
    return pd.DataFrame({"image_id": own["image_id"].to_numpy(), "label": own["label"].to_numpy(),
                         "decision": own["decision"].to_numpy(),
                         "note": rows["note"].to_numpy()}, dtype=object)  # fmt: skip


def _table(
    said: Said, reviews: list[Reviews], assigned: Assigned, places: dict[str, int]
) -> pd.DataFrame:
    contested = {one.key: one for one in said.own_contested}
    images = dict(zip(assigned.table["image_id"], assigned.table["image"], strict=True))
    rows = []
    for row in said.own.iloc[said.own_held].to_dict("records"):
        if row["position"] < 0:
            # One of the run's labelled images: `fit` reads it, the batch does not have it.
            continue
        note = reviews[row["file"]].rows["note"].iloc[int(row["row"])]
        disputed = _disputed(said, contested.get(row["key"]))
        agrees = row["decision"] != "reject" and row["label"] == row["predicted"] and not disputed
        rows.append(
            {"image_id": row["key"], "image": images.get(row["key"], ""),
             "predicted_label": row["predicted"], "label": row["label"],
             "decision": row["decision"], "agrees": agrees, "disputed": disputed,
             "in_sample": row["key"] in places, "reviewer": _name(row["reviewer"]),
             "time": row["time"], "note": note}
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))
    order = table["image_id"].map(places).fillna(len(places)).argsort(kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _disputed(said: Said, contested: Contested | None) -> str:
    """Return who said what where readers disagree and nobody has settled it; "": they do not."""
    if contested is None or len(contested.standing) < 2:
        return ""
    rows = said.own.iloc[contested.standing]
    labels = [label if decision != "reject" else CANNOT_TELL
              for label, decision in zip(rows["label"], rows["decision"], strict=True)]  # fmt: skip
    settled = bool(rows["settles"].iloc[-1] or rows["ground_truth"].iloc[-1])
    if len(set(labels)) == 1 or settled:
        return ""
    names = [_name(name) for name in rows["reviewer"]]
    return ", ".join(f"{name}: {label}" for name, label in zip(names, labels, strict=True))


def _by_reader(said: Said, places: dict[str, int]) -> pd.DataFrame:
    """Return each reader's own last answer, but for those that settle a disagreement."""
    own = said.own[said.own["key"].isin(places) & ~said.own["settles"]]
    own = own.assign(reader=[reviewer_key(name) for name in own["reviewer"]])
    last = own.drop_duplicates(["key", "reader"], keep="last")
    last = last[last["decision"] != "skip"]
    return pd.DataFrame({"image_id": last["key"].to_numpy(),
                         "reviewer": [_name(name) for name in last["reviewer"]],
                         "label": last["label"].where(last["decision"] != "reject", "").to_numpy()},
                        dtype=object)  # fmt: skip


def _name(reviewer: str) -> str:
    return " ".join(reviewer.split()) or NO_NAME
