"""`certificate.json`, `answers.csv` and `reviews.csv`: all that a certificate rests on."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from clusterkit.certifying.answers import ANSWER_COLUMNS, Answers
from clusterkit.certifying.proof import Proof, agreement
from clusterkit.data.identity import text_id
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError
from clusterkit.formats.atomic import replacing, write_bytes
from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text, table_text
from clusterkit.formats.json_record import JsonRecord
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.reviews import Reviews, read_reviews, review_bytes, spread_reviews

CERTIFICATE, ANSWERS, REVIEWS = "certificate.json", "answers.csv", "reviews.csv"
# The labels as `assign` wrote them.
BEFORE = "assignments.csv"


@dataclass(frozen=True)
class Agreement(JsonRecord):
    """Cohen's kappa of two readers on one class, or on all.

    Attributes
    ----------
    what : str
    kappa : float or None
        None: both gave the same single answer throughout.
    images : int
    """

    what: str
    kappa: float | None
    images: int


@dataclass(frozen=True)
class Certificate(JsonRecord):
    """A certificate with all counts, as `certificate.json` keeps it.

    Attributes
    ----------
    plan : str
        Key of the plan.
    budget, listed_sets, sample
        Those of the plan when this was made: it may have become longer since.
    found : CertificateRecord
    file, before : str
        SHA-256 of the assignments that were written, and of those that they replaced.
    waiting, older, outside : int
        Answers of the sample that do not count yet, rows older than the sample, answers about
        images outside it.
    repeated, repeated_same, shown, undone, changed, first_different, elsewhere : int
        See `answers.Answers`.
    disputed : int
        Images of which readers disagree.
    agreement : list of Agreement
    classes : dict of str to list of int
        Of each label that was set: images that were answered in the sample, and how many of them
        were different.
    versions : dict of str to str
    """

    plan: str
    budget: int
    listed_sets: int
    sample: str
    found: CertificateRecord
    file: str
    before: str
    waiting: int
    older: int
    outside: int
    repeated: int
    repeated_same: int
    shown: int
    undone: int
    changed: int
    first_different: int
    elsewhere: int
    disputed: int
    agreement: list[Agreement] = field(default_factory=list)
    classes: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def certificate_of(
    proof: Proof, answers: Answers, found: CertificateRecord, files: tuple[str, str],
    versions: dict[str, str],
) -> Certificate:  # fmt: skip
    """Bring the counts of a certificate together; `files`: digests, written and replaced."""
    table = answers.table
    sampled = table[table["in_sample"].astype(bool)]
    classes = {
        str(label): [len(part), int((~part["agrees"].astype(bool)).sum())]
        for label, part in sampled.groupby("predicted_label")
    }
    labels = sorted({*proof.population.table["predicted_label"], *table["label"]} - {""})
    kappas = [Agreement(what, None if kappa is None else round(kappa, 4), images)
              for what, kappa, images in agreement(answers, labels)]  # fmt: skip
    return Certificate(
        plan=proof.plan.key, budget=proof.plan.budget, listed_sets=proof.plan.listed_sets,
        sample=proof.plan.sample, found=found, file=files[0], before=files[1],
        waiting=proof.waiting, older=answers.older, outside=answers.outside,
        repeated=answers.repeated,
        repeated_same=answers.repeated_same, shown=answers.shown, undone=answers.undone,
        changed=answers.changed, first_different=answers.first_different,
        elsewhere=answers.elsewhere,
        disputed=int((table["disputed"] != "").sum()), agreement=kappas, classes=classes,
        versions=versions,
    )  # fmt: skip


def read_certificate(folder: Path) -> Certificate | None:
    """Read `certificate.json`; None: there is none.

    Raises
    ------
    DataError
        It is damaged.
    """
    path = folder / CERTIFICATE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        return Certificate.from_dict(values)
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); put it back from a copy, or remove it and "
                        "give the reviews again")  from error  # fmt: skip


def write_answers(table: pd.DataFrame, path: Path) -> None:
    """Write `answers.csv`, whole or not at all."""
    out = table.assign(agrees=[_yes(v) for v in table["agrees"]],
                       in_sample=[_yes(v) for v in table["in_sample"]])  # fmt: skip
    with replacing(path, newline="", mark=True) as file:
        file.write(table_text(out.map(safe_csv_text)))


def read_answer_ids(folder: Path) -> set[str]:
    """Return the image_ids that `answers.csv` and `reviews.csv` of a certificate hold."""
    found = {row["image_id"] for row in read_answer_rows(folder / ANSWERS)}
    if (folder / REVIEWS).is_file():
        rows = read_reviews(folder / REVIEWS)
        found |= set(rows["image_id"][rows["decision"] != "skip"])
    return found


def read_answer_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of an `answers.csv` as text; none where there is no such file.

    Raises
    ------
    DataError
        It is no such file any more.
    """
    if not path.is_file():
        return []
    names, lines, _ = read_table(path, wanted=ANSWER_COLUMNS)
    missing = [name for name in ANSWER_COLUMNS if name not in names]
    if missing:
        raise DataError(f"{path} has no column '{missing[0]}': somebody has changed it; remove it "
                        "and give the reviews again")  # fmt: skip
    rows = [{name: restore_csv_text(line[names.index(name)]) for name in ANSWER_COLUMNS}
            for line in lines]  # fmt: skip
    return [row | {"image_id": text_id(row["image_id"])} for row in rows]


def answer_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows that `write_answers` writes, as `read_answer_rows` reads them."""
    rows = table.to_dict("records")
    return [{name: _yes(row[name]) if name in ("agrees", "in_sample") else str(row[name])
             for name in ANSWER_COLUMNS} for row in rows]  # fmt: skip


def read_reviews_copy(path: Path, assigned: Assigned) -> Reviews:
    """Read what `write_reviews_copy` wrote: rows about the batch, and about no labelled image."""
    return spread_reviews(path, assigned, pd.DataFrame({"image_id": [], "label": []}, dtype=object))


def write_reviews_copy(reviews: list[Reviews], path: Path) -> None:
    """Write the rows about images of the batch, of all files in their order, as a `reviews.csv`."""
    parts = []
    for part in reviews:
        own = part.spread[
            (part.spread["provenance"] == "reviewed") & (part.spread["position"] >= 0)
        ]
        parts.append(part.rows.loc[part.rows.index[own["row"].to_numpy(dtype=int)]])
    rows = pd.concat(parts, ignore_index=True)
    write_bytes(path, review_bytes(rows))


def _yes(value: object) -> str:
    return "yes" if value else "no"
