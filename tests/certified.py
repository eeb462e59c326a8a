"""A run whose labels a person has checked, made by hand: what `certify` leaves beside a run."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd

from clusterkit.formats.assignments import read_assignments, write_assignments

STATEMENT = "Of every 100 of these 30 labels, at most 5 are wrong (90% sure)."


def certificate(certified: bool = True, **values) -> dict:
    """A certificate as it stands in `assignments.json`."""
    found = {"certified": certified, "statement": STATEMENT, "max_error": 0.05, "confidence": 0.9,
             "labels": 30 * certified, "least_confidence": 0.61, "population": 30,
             "checked": 12, "different": 1.0, "answered": 12, "folder": "certify"}  # fmt: skip
    return found | values


def certified_run(run: Path, sample: Path, folder: Path, **values) -> tuple[Path, pd.DataFrame]:
    """Copy a run, let a person answer some of its images, and label others by the certificate.

    Of each status one image in three is answered: refused ones as `rosette`, which the run does
    not know, assigned ones as they are. Of the refused ones the next is labelled by the
    certificate. `reviews.csv` holds the answers.

    Returns
    -------
    The copy's folder and its table.
    """
    copy = folder / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("audit", "certify", "export"))
    table = read_assignments(copy / "assignments.csv")
    answers = []
    for status in ("assigned", "review", "novel"):
        rows = table.index[table["status"] == status]
        for row in rows[::3]:
            right = status == "assigned"
            said = table.at[row, "predicted_label"] if right else "rosette"
            if not right:
                table.at[row, "reason"] = f"The model said {table.at[row, 'predicted_label']}."
            table.loc[row, ["status", "predicted_label", "confidence"]] = ["reviewed", said, 1.0]
            answers.append([table.at[row, "image_id"], said, "accept" if right else "relabel"])
        table.loc[rows[1::3], "status"] = "assigned"
    table.loc[table["status"].isin(["assigned", "reviewed"]), "order"] = pd.NA
    write_assignments(table, copy / "assignments.csv")
    path = copy / "assignments.json"
    record = json.loads(path.read_text())
    record["table"] = hashlib.sha256((copy / "assignments.csv").read_bytes()).hexdigest()
    record["input_root"] = os.path.relpath(sample, copy)
    record["certificate"] = certificate(**values)
    path.write_text(json.dumps(record))
    names = ["image_id", "label", "decision"]
    reviews = pd.DataFrame(answers, columns=names).assign(reviewer="Dr A", note="")
    reviews.to_csv(copy / "reviews.csv", index=False)
    (copy / "certify").mkdir()
    (copy / "certify" / "certificate.html").write_text("<!doctype html><title>c</title>")
    return copy, read_assignments(copy / "assignments.csv")
