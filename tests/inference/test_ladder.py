"""The ladder: what it says could be assigned is what is assigned when one asks for it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clusterkit import Run, assign
from clusterkit.config import override
from clusterkit.formats.assignment_record import AssignmentRecord, LadderStep
from clusterkit.inference.ladder import LADDER_ERRORS, ladder_notes, ladder_rows
from clusterkit.methods.certificate import answers_needed, null_total


@pytest.fixture(scope="module")
def right(run):
    """The run, as if all that it said of held-out images had been right."""
    found = Run.load(run.path)
    held = found.calibration["held_out"]
    held["labels"] = np.asarray(held["probs"]).argmax(axis=1).tolist()
    return found


@pytest.fixture(scope="module")
def refused(right, sample, config, tmp_path_factory):
    """At 60% confidence nine patients can promise 10%, and not 4%."""
    settings = override(config, assign__max_error=0.04, assign__confidence=0.6)
    out = tmp_path_factory.mktemp("refused") / "assignments.csv"
    return assign(right, sample / "unlabeled.csv", config=settings, out=out)


def test_every_step_is_what_asking_for_it_gives(refused, right, sample, config, tmp_path):
    record = refused.record
    assert record.status["assigned"] == 0
    assert [step.max_error for step in record.ladder] == sorted({*LADDER_ERRORS, 0.04})
    for step in record.ladder:
        settings = override(config, assign__max_error=step.max_error, assign__confidence=0.6)
        out = tmp_path / "again.csv"
        asked = assign(right, sample / "unlabeled.csv", config=settings, out=out).record
        assert step.assigned == asked.status["assigned"]
        assert (step.more, step.unit) == (asked.promise.more, asked.promise.unit)
    assert any(step.assigned for step in record.ladder)
    none_of_it = [step for step in record.ladder if not step.assigned]
    assert none_of_it
    read = refused.table["status"].isin(["review", "novel"])
    images = refused.table["image_id"][read].nunique()
    assert record.certify_answers == answers_needed([], images, null_total(images, 0.04), 0.6)


def test_it_is_written_and_read_again(refused):
    written = json.loads(refused.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert written["ladder"][0]["max_error"] == 0.01
    assert AssignmentRecord.from_dict(written).ladder == refused.record.ladder
    edited = AssignmentRecord.fitting(written | {"ladder": [{"max_error": "all"}, 3]})
    assert ladder_rows(edited) == []


@pytest.mark.parametrize("asked", [{"per_class": True}, {"max_error": None}, {"max_error": 0.3}])
def test_there_is_none_where_there_is_no_need(asked, right, sample, config, tmp_path):
    settings = override(config, assign__confidence=0.6,
                        **{f"assign__{name}": value for name, value in asked.items()})  # fmt: skip
    if "max_error" in asked and asked["max_error"] is None:
        settings = replace(settings, assign=replace(settings.assign, max_error=None))
    result = assign(right, sample / "unlabeled.csv", config=settings, out=tmp_path / "a.csv")
    assert result.record.ladder == []
    assert {"ladder", "certify_answers"}.isdisjoint(result.record.to_dict())


def test_in_words():
    steps = [LadderStep(0.01, 0, 12, "group"), LadderStep(0.05, 0, None, "group"),
             LadderStep(0.1, 1, 0, "group"), LadderStep(0.2, 1200, 5, "group")]  # fmt: skip
    record = AssignmentRecord(ladder=steps, certify_answers=52, confidence=0.9)
    assert ladder_rows(record) == [
        ("1%", "none", "about 12 more labelled groups"),
        ("5%", "none", "the error measured is too large"),
        ("10%", "1 image", ""),
        ("20%", "1,200 images", "about 5 more labelled groups for more of them"),
    ]
    one_by_one, certify = ladder_notes(record)
    assert "90% sure by itself" in one_by_one
    assert "not that sure together" in one_by_one
    assert "clusterkit certify" in certify
    assert "52 answers" in certify
    assert ladder_notes(AssignmentRecord()) == []


def test_the_command_says_it(run, sample, command, tmp_path):
    images, options = sample / "unlabeled.csv", ("--max-error", 0.04, "--confidence", 0.6)
    code, out, _ = command("assign", images, "--run", run.path, "--out", tmp_path / "a.csv",
                           *options)  # fmt: skip
    assert code == 0
    assert "at most   1% wrong: none; about" in out
    assert "clusterkit certify asks about images of this batch" in out
