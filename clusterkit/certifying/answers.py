"""What people answered about the images of a sample, and about others."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clusterkit.errors import DataError
from clusterkit.formats.review_answers import (
    Contested,
    read_time,
    reviewer_key,
    reviewer_name,
)
from clusterkit.formats.review_said import Said, said_in
from clusterkit.formats.reviews import Reviews

ANSWER_COLUMNS = ("image_id", "image", "predicted_label", "label", "decision", "agrees", "disputed",
                  "in_sample", "reviewer", "time", "note")  # fmt: skip

_AGAIN = re.compile(r"(?:^|; )asked again: (.*?)(?:; |$)")
CANNOT_TELL, NONE_OF_THESE, REJECTED = "can't tell", "none of these", "rejected"
SHOWN = "label shown"
# A settlement that was taken back says the answer before it once more.
_UNDONE = r"(?:^|; )undone$"


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
        image_id, reviewer, answer: each reader's own last answer about an image of the sample, but
        for those given with another's in sight. Where no label was given it is `CANNOT_TELL`,
        `NONE_OF_THESE` or `REJECTED`.
    named : set of str
        image_ids that any row names, also one that is taken back or too old.
    readers : list of str
        All who answered images of the sample, in the order of their names.
    older, outside, clusters : int
        Rows about images of the sample that are older than it and do not count; images outside the
        sample; rows about clusters.
    repeated, repeated_same : int
        Images that were asked once more, and those that got the same answer.
    shown, undone : int
        Answers given after the label was uncovered, and answers that were taken back.
    changed, first_different : int
        Images of the sample whose answer is not the first that was given, and those whose first
        answer was not the label.
    elsewhere : int
        Answers about the sample that the certify page has not written: whether the label was hidden
        is not known.
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
    named: set[str]
    readers: list[str]
    changed: int
    first_different: int
    elsewhere: int


def match_answers(reviews: Sequence[Reviews], sample: Sequence[str], drawn: str) -> Answers:
    """Match answers with a sample.

    Parameters
    ----------
    reviews : sequence of Reviews
        About the labels as `assign` set them; later ones count as later rows.
    sample : sequence of str
        The sample's image_ids in their order.
    drawn : str
        When it was drawn, ISO 8601 in UTC.
    """
    places = {identity: i for i, identity in enumerate(sample)}
    kept = [_younger(part, set(places), drawn) for part in reviews]
    older = sum(len(a.spread) - len(b.spread) for a, b in zip(reviews, kept, strict=True))
    said = said_in([_without_repeats(part) for part in kept])
    own = _with_words(said, kept)
    asked = own[own["key"].isin(places)]
    table = _table(said, own, places)
    by_reader = _by_reader(asked)
    repeats = pd.concat([_repeats(part) for part in kept], ignore_index=True)
    repeats = repeats[repeats["image_id"].isin(places)]
    known = set(zip(by_reader["image_id"], by_reader["reviewer"], by_reader["answer"], strict=True))
    firsts = asked[asked["decision"] != "skip"].drop_duplicates("key")
    held = asked.loc[asked.index.isin(said.own_held)].set_index("key")["answer"]
    return Answers(
        table,
        by_reader,
        older=older,
        outside=int((~table["in_sample"]).sum()),
        clusters=sum(int(part.rows["cluster"].notna().sum()) for part in reviews),
        repeated=len(repeats),
        repeated_same=sum(
            row in known
            for row in zip(repeats["image_id"], repeats["reviewer"], repeats["again"], strict=True)
        ),
        shown=int(asked["note"].str.contains(SHOWN, regex=False).sum()),
        undone=int(((asked["decision"] == "skip") | asked["note"].str.contains(_UNDONE)).sum()),
        named={str(one) for part in reviews for one in part.spread["image_id"]},
        readers=sorted({reviewer_name(name) for name in asked["reviewer"]}),
        changed=int((firsts["key"].map(held) != firsts["answer"]).sum()),
        first_different=int((firsts["answer"] != firsts["predicted"]).sum()),
        elsewhere=int((asked.loc[asked.index.isin(said.own_held), "from"] == "").sum()),
    )


def cannot_tell(note: str) -> bool:
    """Whether the note of a rejected label says that the reader could not tell."""
    return unnamed(note) == CANNOT_TELL


def check_complete(answers: Answers, before: Iterable[str], count: int, where: str) -> None:
    """Check that no answer of an earlier certificate has gone.

    Parameters
    ----------
    answers : Answers
    before : iterable of str
        image_ids that the files of the certificate hold.
    count : int
        How many the certificate says.
    where : str
        Its copy of the reviews.

    Raises
    ------
    DataError
        One has.
    """
    lost = sorted(set(before) - answers.named)
    missing = max(len(lost), count - len(answers.named))
    if missing > 0:
        example = f", e.g. about image '{lost[0]}'," if lost else ""
        raise DataError(
            f"{missing} answers that the certificate rests on{example} are not in the reviews that "
            f"are given; give theirs too, or the copy before the others: --reviews {where}"
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


def _rows_of(part: Reviews) -> pd.DataFrame:
    """Return the written row of each row of `spread`."""
    return part.rows.iloc[part.spread["row"].to_numpy(dtype=int)]


def _is_repeat(part: Reviews) -> np.ndarray:
    rows = _rows_of(part)
    again = rows["note"].str.extract(_AGAIN, expand=False).notna()
    return (again & (rows["decision"] != "skip")).to_numpy(dtype=bool)


def _without_repeats(part: Reviews) -> Reviews:
    """Leave out rows that only say an answer once more: they never enter the test."""
    return replace(part, spread=part.spread[~_is_repeat(part)])


def _repeats(part: Reviews) -> pd.DataFrame:
    rows = _rows_of(part)[_is_repeat(part)]
    return pd.DataFrame({"image_id": rows["image_id"].to_numpy(),
                         "reviewer": [reviewer_name(name) for name in rows["reviewer"]],
                         "again": rows["note"].str.extract(_AGAIN, expand=False).to_numpy()},
                        dtype=object).drop_duplicates(["image_id", "reviewer"],
                                                      keep="last")  # fmt: skip


def _with_words(said: Said, reviews: list[Reviews]) -> pd.DataFrame:
    """Return the rows about images with their notes, and their answers in words."""
    rows = [reviews[file].rows.iloc[int(row)]
            for file, row in zip(said.own["file"], said.own["row"], strict=True)]  # fmt: skip
    notes = [str(row["note"]) for row in rows]
    words = [label or unnamed(note)
             for label, note in zip(said.own["label"], notes, strict=True)]  # fmt: skip
    made_by = [str(row["assignments"]) for row in rows]
    images = [
        _image_of(reviews[file], position)
        for file, position in zip(said.own["file"], said.own["position"], strict=True)
    ]
    new = {"note": notes, "answer": words, "from": made_by, "image": images}
    return said.own.assign(**{k: pd.Series(v, said.own.index, dtype=object)
                              for k, v in new.items()})  # fmt: skip


def _image_of(part: Reviews, position: int) -> str:
    """Return the name of an image of the batch, as `assign` wrote it; "": it is none of it."""
    return part.assigned.table["image"].iloc[position] if part.assigned and position >= 0 else ""


def unnamed(note: str) -> str:
    """Return in words what a rejected label's note says: why no other was given."""
    for words in (CANNOT_TELL, NONE_OF_THESE):
        if note.strip().lower().startswith(words):
            return words
    return REJECTED


def _table(said: Said, own: pd.DataFrame, places: dict[str, int]) -> pd.DataFrame:
    contested = {one.key: one for one in said.own_contested}
    rows = []
    for row in own.iloc[said.own_held].to_dict("records"):
        if row["position"] < 0:
            # One of the run's labelled images: `fit` reads it, the batch does not have it.
            continue
        disputed = _disputed(own, contested.get(row["key"]))
        agrees = row["decision"] != "reject" and row["label"] == row["predicted"] and not disputed
        rows.append(
            {"image_id": row["key"], "image": row["image"],
             "predicted_label": row["predicted"], "label": row["label"],
             "decision": row["decision"], "agrees": agrees, "disputed": disputed,
             "in_sample": row["key"] in places, "reviewer": reviewer_name(row["reviewer"]),
             "time": row["time"], "note": row["note"]}
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))
    order = table["image_id"].map(places).fillna(len(places)).argsort(kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _disputed(own: pd.DataFrame, contested: Contested | None) -> str:
    """Return who said what where readers disagree and nobody has settled it; "": they do not."""
    if contested is None or len(contested.standing) < 2:
        return ""
    rows = own.iloc[contested.standing]
    settled = bool(rows["settles"].iloc[-1] or rows["ground_truth"].iloc[-1])
    if rows["answer"].nunique() == 1 or settled:
        return ""
    names = [reviewer_name(name) for name in rows["reviewer"]]
    return ", ".join(f"{name}: {said}" for name, said in zip(names, rows["answer"], strict=True))


def _by_reader(own: pd.DataFrame) -> pd.DataFrame:
    """Return each reader's own last answer, but for those that settle a disagreement."""
    own = own[~own["settles"]]
    own = own.assign(reader=[reviewer_key(name) for name in own["reviewer"]])
    last = own.drop_duplicates(["key", "reader"], keep="last")
    last = last[last["decision"] != "skip"]
    return pd.DataFrame({"image_id": last["key"].to_numpy(),
                         "reviewer": [reviewer_name(name) for name in last["reviewer"]],
                         "answer": last["answer"].to_numpy()}, dtype=object)  # fmt: skip
