"""`certify --verify`: a certificate stands as long as nothing that it rests on was changed."""

import json
import re
import shutil

import pytest

from clusterkit import certify, read_assignments, verify
from clusterkit.errors import ClusterkitError
from clusterkit.formats.assignments import write_assignments
from tests.certifying.checked_batch import CheckedBatch, copied_batch

ANSWERS = 8


@pytest.fixture(scope="module")
def certified(run, assignment):
    """A certificate, made once."""
    batch = copied_batch(run.path, {})
    certify(batch.run, max_error=0.35)
    sample = batch.sample()
    ids = sample["image_id"][sample["set"] == "0"].tolist()[:ANSWERS]
    rows = batch.rows(ids, wrong=ids[3:4])
    rows[5]["note"] = "label shown"
    certify(batch.run, reviews=batch.write(rows))
    assert verify(batch.folder).stands
    return batch


@pytest.fixture
def copy(certified):
    """The same certificate in a place of its own, to be tampered with."""
    place = certified.run.with_name(certified.run.name + "-tampered")
    shutil.copytree(certified.run, place)
    yield CheckedBatch(place, {})
    shutil.rmtree(place)


def changed(path, old, new, count=1):
    text = path.read_text(encoding="utf-8")
    found = re.sub(old, new, text, count=count)
    assert found != text
    path.write_text(found, encoding="utf-8")


def without_line(path, number):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:number] + lines[number + 1 :]), encoding="utf-8")


def other_label(batch):
    table = read_assignments(batch.csv)
    row = table.index[~table["status"].isin(["reviewed", "failed", "duplicate"])][0]
    label = table.at[row, "predicted_label"]
    table.at[row, "predicted_label"] = "ring" if label != "ring" else "rod"
    write_assignments(table, batch.csv)


TAMPERINGS = {
    "a label in the assignments": (other_label, "1 labels or statuses were changed"),
    "a row of the assignments": (lambda b: without_line(b.csv, 4), "it has other images"),
    "the assignments are gone": (lambda b: b.csv.unlink(), "is missing"),
    "the record": (lambda b: changed(b.csv.with_suffix(".json"), '"checked": 8', '"checked": 80'),
                   "says something else of the certificate"),
    "a number of the certificate": (
        lambda b: changed(b.folder / "certificate.json", '"different": 1.0', '"different": 0.0'),
        "says different 0.0"),
    "its sentence": (
        lambda b: changed(b.folder / "certificate.json", "1 different", "none was different"),
        "says statement"),
    "the count of unblinded looks": (
        lambda b: changed(b.folder / "certificate.json", '"shown": 1', '"shown": 0'),
        "says shown 0"),
    "a number of the page": (lambda b: changed(b.folder / "certificate.html", "1 different", "0"),
                             "certificate.html is not the page"),
    "an answer is missing": (lambda b: without_line(b.folder / "answers.csv", 3),
                             "an answer is missing or changed"),
    "a review is missing": (lambda b: without_line(b.folder / "reviews.csv", 3), "says"),
    "an answer is another": (lambda b: changed(b.folder / "reviews.csv", "relabel", "accept"), ""),
    "the reviews are gone": (lambda b: (b.folder / "reviews.csv").unlink(), "no answers"),
    "the error that was asked for": (
        lambda b: changed(b.folder / "plan.json", '"max_error": 0.35', '"max_error": 0.05'),
        "is of the plan"),
    "the seed": (lambda b: changed(b.folder / "plan.json", '"seed": 0', '"seed": 1'),
                 "is of the plan"),
    "the day": (lambda b: changed(b.folder / "plan.json", r'"created": "20', '"created": "99'),
                "says"),
    "the size of a set": (
        lambda b: changed(b.folder / "plan.json", r'"units": \d+', '"units": 7', 2),
        "sets in the plan"),
    "the order of the sample": (lambda b: changed(b.folder / "sample.csv", r"\n(.*)\n(.*)\n",
                                                  r"\n\2\n\1\n"), "order is part of the proof"),
    "the labels before": (lambda b: changed(b.folder / "assignments.csv", ",review,", ",novel,"),
                          "as assign wrote them are gone or changed"),
    "no record is JSON": (lambda b: (b.folder / "certificate.json").write_text("{"), None),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_changed_is_found(copy, what):
    assert verify(copy.folder).stands
    tamper, message = TAMPERINGS[what]
    tamper(copy)
    if message is None:
        with pytest.raises(ClusterkitError, match="is damaged"):
            verify(copy.folder)
        return
    verdict = verify(copy.folder)
    assert not verdict.stands
    assert any(message in fault for fault in verdict.faults), verdict.faults


def test_nothing_is_written(copy):
    before = {p: p.read_bytes() for p in copy.run.rglob("*") if p.is_file()}
    verify(copy.folder)
    assert {p: p.read_bytes() for p in copy.run.rglob("*") if p.is_file()} == before


def test_a_moved_folder_is_checked_where_it_is(copy, tmp_path):
    """The folder alone names its assignments relative to itself, and those beside it are found."""
    shutil.copytree(copy.run, tmp_path / "elsewhere")
    shutil.rmtree(copy.folder)
    assert verify(tmp_path / "elsewhere" / "certify").stands
    copy.folder.mkdir()


def test_no_certificate_is_one_line(copy, tmp_path):
    for folder, message in ((tmp_path / "none", "is no folder"), (tmp_path, "no plan.json")):
        with pytest.raises(ClusterkitError, match=message):
            verify(folder)
    (copy.folder / "certificate.json").unlink()
    with pytest.raises(ClusterkitError, match=r"no certificate\.json"):
        verify(copy.folder)


def test_the_command(copy, command):
    code, out, _ = command("certify", "--verify", str(copy.folder))
    assert code == 0
    assert "stands     yes" in out
    other_label(copy)
    code, out, err = command("certify", "--verify", str(copy.folder), "--json")
    said = json.loads(out)
    assert code == 1
    assert not said["stands"]
    assert len(said["faults"]) == 1
    assert err.startswith("error: the certificate in")
    assert err.count("\n") == 1
