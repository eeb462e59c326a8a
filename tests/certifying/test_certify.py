"""`certify`: from a drawn sample and answers to labels, a certificate, and back again."""

import errno
import hashlib
import json
import os
import shutil
import time

import pandas as pd
import pytest

from clusterkit import certify, read_assignments, review, verify
from clusterkit.errors import ClusterkitError
from clusterkit.formats import assignment_pair
from clusterkit.formats.assignments import write_assignments

ERROR = 0.2


def first(batch, number, of=0):
    """The first images of a set in the drawn order."""
    sample = batch.sample()
    return sample["image_id"][sample["set"].astype(int) <= of].tolist()[:number]


def certificate(batch):
    return json.loads((batch.run / "assignments.json").read_text())["certificate"]


def test_the_same_sample_comes_back_and_nothing_else_is_touched(batch):
    before = batch.csv.read_bytes()
    done = certify(batch.run, max_error=ERROR)
    files = {p.name: p.read_bytes() for p in batch.folder.iterdir() if p.is_file()}
    assert done.record is None
    assert done.certificate is None
    again = certify(batch.run)
    assert again.proof.plan == done.proof.plan
    for name in ("plan.json", "sample.csv", "assignments.csv"):
        assert (batch.folder / name).read_bytes() == files[name]
    assert batch.csv.read_bytes() == before
    assert (batch.folder / "assignments.csv").read_bytes() == before
    assert done.page.is_file()


def test_answers_become_labels_and_a_certificate_that_can_be_computed_again(batch):
    plan = certify(batch.run, max_error=ERROR).proof.plan
    ids = first(batch, plan.sets[0].units)
    wrong = ids[2:3]
    reviews = batch.write(batch.rows(ids, wrong=wrong))
    done = certify(batch.run, reviews=reviews)
    table = read_assignments(batch.csv).set_index("image_id")
    answered = table.loc[ids]
    assert set(answered["status"]) == {"reviewed"}
    assert set(answered["confidence"]) == {1.0}
    assert table.loc[wrong[0], "predicted_label"] != batch.labels()[wrong[0]]
    assert batch.labels()[wrong[0]] in table.loc[wrong[0], "reason"]
    found = done.record
    assert certificate(batch) == found.to_dict()
    # All were checked: what is said of the set is exact.
    assert found.certified
    assert found.checked == found.population == plan.sets[0].units
    assert (found.different, found.bound_after) == (1.0, found.bound_before - 1)
    members = set(ids)
    left = read_assignments(batch.folder / "assignments.csv").set_index("image_id")
    for identity, row in table.iterrows():
        if identity not in members and left.loc[identity, "status"] == "assigned":
            assert row["status"] == "review"
    assert verify(batch.folder).stands
    assert "Dr A" in done.certificate.read_text(encoding="utf-8")
    text = json.loads((batch.run / "assignments.json").read_text())["promise_text"]
    assert text == found.statement


def test_the_rest_of_a_certified_set_is_assigned(batch):
    done = certify(batch.run, max_error=0.35)
    needed = done.proof.fewest(0)
    ids = first(batch, needed)
    assert needed < done.proof.plan.sets[0].units
    record = certify(batch.run, reviews=batch.write(batch.rows(ids))).record
    table = read_assignments(batch.csv)
    members = first(batch, 10_000) + list(table["image_id"])
    assert record.certified
    assert record.checked == needed
    assert len(members) >= record.labels
    counts = table["status"].value_counts()
    assert counts["reviewed"] == needed
    assert counts["assigned"] == record.labels - needed
    # One answer fewer proves nothing, and the labels are as they were but for what was answered.
    fewer = batch.rows(ids[:-1])
    with pytest.raises(ClusterkitError, match="1 answers that the certificate rests on"):
        certify(batch.run, reviews=batch.write(fewer, "fewer.csv"))


def test_one_answer_fewer_certifies_nothing(batch):
    done = certify(batch.run, max_error=0.35)
    ids = first(batch, done.proof.fewest(0) - 1)
    record = certify(batch.run, reviews=batch.write(batch.rows(ids))).record
    before = read_assignments(batch.folder / "assignments.csv").set_index("image_id")
    after = read_assignments(batch.csv).set_index("image_id")
    assert not record.certified
    assert record.labels == 0
    others = after.index.difference(ids)
    assert (after.loc[others, "status"] == before.loc[others, "status"]).all()
    assert (after.loc[ids, "status"] == "reviewed").all()
    assert record.statement.startswith("Not certified")
    assert "<h1>Not certified" in (batch.folder / "certificate.html").read_text()
    assert verify(batch.folder).stands


def test_only_what_was_drawn_before_an_open_one_counts(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 12)
    done = certify(batch.run, reviews=batch.write(batch.rows([*ids[:4], *ids[5:]])))
    assert (done.record.checked, done.proof.waiting) == (4, 7)
    # The missing one comes later, and all count; the labels are made anew from the first ones.
    done = certify(batch.run, reviews=batch.write(batch.rows(ids)))
    assert (done.record.checked, done.proof.waiting) == (12, 0)
    assert verify(batch.folder).stands


def test_answers_that_are_not_of_the_sample_are_labels_and_prove_nothing(batch):
    done = certify(batch.run, max_error=0.35, budget=5)
    ids = first(batch, 5)
    table = read_assignments(batch.csv)
    rest = [
        i
        for i, s in zip(table["image_id"], table["status"], strict=True)
        if i not in set(batch.sample()["image_id"]) and s not in ("failed", "duplicate")
    ]
    assert rest
    done = certify(batch.run, reviews=batch.write(batch.rows([*ids, *rest[:3]])))
    assert (done.answers.outside, done.record.checked) == (3, 5)
    after = read_assignments(batch.csv).set_index("image_id")
    assert (after.loc[rest[:3], "status"] == "reviewed").all()


def test_answers_from_before_the_sample_do_not_count(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    old = [row | {"time": "2001-01-01T00:00:00Z"} for row in batch.rows(ids[:2])]
    done = certify(batch.run, reviews=batch.write([*old, *batch.rows(ids[2:])]))
    assert (done.answers.older, done.record.checked, done.proof.waiting) == (2, 0, 4)


def test_doubled_answers_count_once_and_disputed_ones_as_different(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    rows = batch.rows(ids)
    twice = certify(batch.run, reviews=batch.write([*rows, *rows]))
    assert (twice.record.checked, twice.record.different) == (6, 0.0)
    other = batch.rows(ids[:3], wrong=ids[1:2], reviewer="Dr B", day=2)
    done = certify(batch.run, reviews=batch.write([*rows, *other]))
    assert (done.record.checked, done.record.different) == (6, 1.0)
    assert done.record.readers == ["Dr A", "Dr B"]
    row = read_assignments(batch.csv).set_index("image_id").loc[ids[1]]
    assert row["status"] == "review"
    assert "Dr B" in row["reason"]
    saved = json.loads((batch.folder / "certificate.json").read_text())
    assert saved["agreement"][0]["images"] == 3
    assert saved["disputed"] == 1
    third = batch.rows(ids[1:2], reviewer="Dr A", day=3)
    third[0]["note"] = "settled"
    done = certify(batch.run, reviews=batch.write([*rows, *other, *third]))
    assert done.record.different == 0.0
    assert verify(batch.folder).stands


def test_what_nobody_can_tell_counts_as_different_and_is_no_label(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    rows = batch.rows(ids)
    rows[2] |= {"label": "", "decision": "reject", "note": "can't tell"}
    rows[4]["note"] = "label shown"
    rows.append(rows[4] | {"note": "asked again: rod"})
    rows.append(rows[2] | {"note": "asked again: can't tell"})
    record = certify(batch.run, reviews=batch.write(rows)).record
    assert (record.different, record.cannot_tell) == (1.0, 1)
    row = read_assignments(batch.csv).set_index("image_id").loc[ids[2]]
    assert row["status"] == "review"
    assert "could not tell" in row["reason"]
    saved = json.loads((batch.folder / "certificate.json").read_text())
    assert (saved["repeated"], saved["shown"]) == (2, 1)
    assert saved["repeated_same"] == 1 + (batch.labels()[ids[4]] == "rod")


def test_an_answer_that_is_taken_back_is_none(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 4)
    rows = batch.rows(ids)
    undone = rows[1] | {"decision": "skip", "label": "", "note": "undone",
                        "time": "2099-01-02T00:00:00Z"}  # fmt: skip
    done = certify(batch.run, reviews=batch.write([*rows, undone]))
    assert (done.record.checked, done.proof.waiting) == (1, 2)
    assert json.loads((batch.folder / "certificate.json").read_text())["undone"] == 1


def test_more_answers_go_on_with_the_same_sample(batch):
    short = certify(batch.run, max_error=0.35, budget=8)
    ids = batch.sample()["image_id"].tolist()
    long = certify(batch.run, budget=20)
    longer = batch.sample()["image_id"].tolist()
    assert long.proof.plan.key == short.proof.plan.key
    assert len(longer) > len(ids)
    assert [i for i in longer if i in set(ids)] == ids
    with pytest.raises(ClusterkitError, match="--budget 9 would be fewer"):
        certify(batch.run, budget=9)


def test_a_full_check_is_exact_and_an_error_of_0_needs_one(batch):
    done = certify(batch.run, max_error=0, budget=None)
    plan = done.proof.plan
    assert plan.budget == plan.images
    ids = batch.sample()["image_id"].tolist()
    assert len(ids) == plan.images
    nearly = certify(batch.run, reviews=batch.write(batch.rows(ids[:-1])))
    assert not nearly.record.certified or nearly.record.checked == nearly.record.population
    done = certify(batch.run, reviews=batch.write(batch.rows(ids)))
    assert done.record.certified
    assert done.record.labels == plan.images
    assert (done.record.bound_before, done.record.bound_after) == (0.0, 0.0)
    done = certify(batch.run, reviews=batch.write(batch.rows(ids, wrong=ids[-1:])))
    assert done.record.labels < plan.images


def test_patients_are_drawn_whole(batch):
    done = certify(batch.run, max_error=0.35, by="group")
    plan, sample = done.proof.plan, batch.sample()
    groups = read_assignments(batch.csv).set_index("image_id")["group"]
    assert plan.units == groups.loc[[*sample["image_id"]]].nunique() < plan.images
    units = sample.assign(group=groups.loc[[*sample["image_id"]]].to_numpy())
    assert (units.groupby("unit")["group"].nunique() == 1).all()
    done = certify(batch.run, reviews=batch.write(batch.rows(sample["image_id"])))
    assert done.record.certified
    assert done.record.unit == "group"
    assert verify(batch.folder).stands


def test_labels_that_changed_since_are_refused_and_drawn_anew(batch):
    certify(batch.run, max_error=ERROR)
    before = batch.sample()["image_id"].tolist()
    batch.write(batch.rows(first(batch, 3)))
    table = read_assignments(batch.csv)
    sure = table.index[table["status"].isin(["review", "assigned"])][0]
    table.loc[sure, "confidence"] /= 2
    write_assignments(table, batch.csv)
    with pytest.raises(ClusterkitError, match=r"is not what the sample .* was drawn from.*--fresh"):
        certify(batch.run)
    # What the message advises works.
    changed = {path: path.read_bytes() for path in (batch.csv, batch.csv.with_suffix(".json"))}
    for path in changed:
        shutil.copy(batch.folder / f"assignments{path.suffix}", path)
    certify(batch.run)
    for path, content in changed.items():
        path.write_bytes(content)
    done = certify(batch.run, fresh=True, max_error=ERROR)
    assert done.proof.plan.version == 2
    # Nobody knows what the new order will be before the labels are there.
    assert batch.sample()["image_id"].tolist() != before
    assert (batch.run / "certify-1" / "plan.json").is_file()
    ids = first(batch, 4)
    record = certify(batch.run, reviews=batch.write(batch.rows(ids))).record
    assert record.version == 2
    assert "in place of" in (batch.folder / "certificate.html").read_text()


def test_drawn_anew_after_a_certificate_the_labels_are_as_assign_wrote_them(batch):
    before = batch.csv.read_bytes()
    certify(batch.run, max_error=ERROR)
    certify(batch.run, reviews=batch.write(batch.rows(first(batch, 5))))
    assert batch.csv.read_bytes() != before
    certify(batch.run, fresh=True, max_error=0.3)
    assert batch.csv.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "--budget 0 asks nobody"),
        ({"max_error": 1.0}, "--max-error 1 is no share"),
        ({"max_error": -0.1}, "--max-error -0.1 is no share"),
        ({"confidence": 1.0}, "--confidence 1 is no probability"),
        ({"by": "patient"}, "--by patient is neither"),
    ],
)
def test_impossible_wishes_are_one_line(batch, options, message):
    with pytest.raises(ClusterkitError, match=message) as error:
        certify(batch.run, **options)
    assert "\n" not in str(error.value)
    assert not (batch.folder / "plan.json").exists()


def test_what_was_fixed_stays_fixed(batch):
    certify(batch.run, max_error=ERROR)
    for options in ({"max_error": 0.3}, {"confidence": 0.8}, {"by": "group"}, {"seed": 9}):
        with pytest.raises(ClusterkitError, match="was fixed before the first answer"):
            certify(batch.run, **options)


def test_no_assignments_and_a_strange_folder(batch, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ClusterkitError, match="holds files and no plan"):
        certify(batch.run, out=tmp_path)
    batch.csv.unlink()
    with pytest.raises(ClusterkitError, match="run `clusterkit assign` first"):
        certify(batch.run)


def test_answers_about_another_batch_are_refused(batch):
    certify(batch.run, max_error=ERROR)
    rows = batch.rows(first(batch, 2))
    rows[1]["image_id"] = "00000000000000aa"
    with pytest.raises(ClusterkitError, match="image_id '00000000000000aa' is not in"):
        certify(batch.run, reviews=batch.write(rows))
    assert not (batch.folder / "certificate.json").exists()


def test_a_sample_in_another_order_is_refused(batch):
    certify(batch.run, max_error=ERROR)
    path = batch.folder / "sample.csv"
    head, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    reviews = batch.write(batch.rows(first(batch, 3)))
    path.write_text("\n".join([head, *reversed(lines)]))
    with pytest.raises(ClusterkitError, match="order is part of the proof"):
        certify(batch.run, reviews=reviews)
    # As the message says.
    path.unlink()
    certify(batch.run)
    assert certify(batch.run, reviews=reviews).record.checked == 3
    # A spreadsheet may save it in its own way, if the order stays.
    text = path.read_text(encoding="utf-8-sig").replace(",", ";")
    path.write_text(text, encoding="utf-16")
    assert certify(batch.run, reviews=reviews).record.checked == 3


def test_other_reviews_of_the_kind(batch):
    """Reviews may come in several files, in a workbook's CSV, with names as people write them."""
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    one = batch.write(batch.rows(ids[:3]), "monday.csv")
    two = batch.run / "tuesday.csv"
    pd.DataFrame(batch.rows(ids[3:])).to_csv(two, index=False, sep=";", encoding="utf-16")
    assert certify(batch.run, reviews=[one, two]).record.checked == 6
    assert verify(batch.folder).stands


def test_answers_from_label_studio(batch):
    certify(batch.run, max_error=ERROR)
    ids, labels = first(batch, 4), batch.labels()
    tasks = []
    for i, identity in enumerate(ids):
        chosen = {"from_name": "label", "to_name": "image", "type": "choices",
                  "value": {"choices": [labels[identity]]}}  # fmt: skip
        time = f"2099-01-01T10:0{i}:00.5Z"
        tasks.append({"id": i, "annotations": [
            {"id": i, "result": [chosen], "was_cancelled": False, "completed_by": 7,
             "created_at": time, "updated_at": time}],
            "data": {"image": "u", "image_id": identity, "image_name": "a.png",
                     "predicted_label": labels[identity]}})  # fmt: skip
    path = batch.run / "project.json"
    path.write_text(json.dumps(tasks))
    record = certify(batch.run, reviews=path).record
    assert (record.checked, record.different) == (4, 0.0)
    assert verify(batch.folder).stands


def test_what_the_next_fit_reads_is_what_was_answered(batch):
    """`review`, and so `fit --reviews`, find the same labels before and after the certificate."""
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    reviews = batch.write(batch.rows(ids, wrong=ids[1:2]))
    before = review(reviews, batch.run)
    certify(batch.run, reviews=reviews)
    after = review(reviews, batch.run)
    assert after["labels"] == before["labels"]
    assert after["decisions"] == before["decisions"]


def test_what_is_known_to_be_wrong_is_not_certified(batch):
    """Agreeing answers would do, and others that the test does not read say that it is false."""
    done = certify(batch.run, max_error=0.35)
    needed, ids = done.proof.fewest(0), first(batch, 10_000)
    late = ids[needed + 1 :]
    most = int(0.35 * done.proof.plan.sets[0].units)
    assert len(late) > most
    rows = batch.rows([*ids[:needed], *late], wrong=late[: most + 1])
    record = certify(batch.run, reviews=batch.write(rows)).record
    assert not record.certified
    assert record.bound_before >= most + 1
    rows = batch.rows([*ids[:needed], *late], wrong=late[:most])
    assert certify(batch.run, reviews=batch.write(rows)).record.certified
    assert verify(batch.folder).stands


def test_changed_answers_leave_a_trace(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    rows = batch.rows(ids, wrong=ids[:2])
    later = batch.rows(ids[:1], day=2)
    settled = batch.rows(ids[1:2], reviewer="Prof X", day=3)
    settled[0]["note"] = "settled"
    certify(batch.run, reviews=batch.write([*rows, *later, *settled]))
    saved = json.loads((batch.folder / "certificate.json").read_text())
    assert (saved["changed"], saved["first_different"]) == (2, 2)
    assert saved["found"]["different"] == 0.0
    assert saved["found"]["readers"] == ["Dr A", "Prof X"]
    page = (batch.folder / "certificate.html").read_text()
    assert "2 are not the first that was given; of the first, 2 were different" in page
    assert "not known of 6 answers from elsewhere" in page


def test_answers_are_not_dropped_by_removing_a_file(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 6)
    certify(batch.run, reviews=batch.write(batch.rows(ids, wrong=ids[5:])))
    fewer = batch.write(batch.rows(ids[:5]), "fewer.csv")
    for name in ("answers.csv", "reviews.csv"):
        (batch.folder / name).unlink()
        with pytest.raises(ClusterkitError, match="1 answers that the certificate rests on"):
            certify(batch.run, reviews=fewer)


def test_each_version_draws_anew_and_keeps_what_was_fixed(batch):
    one = certify(batch.run, max_error=0.3, confidence=0.8).proof.plan
    order = batch.sample()["image_id"].tolist()
    two = certify(batch.run, fresh=True).proof.plan
    assert batch.sample()["image_id"].tolist() != order
    assert (two.max_error, two.confidence, two.version) == (0.3, 0.8, 2)
    assert two.replaces == one.key
    # What is wished in vain puts nothing aside.
    with pytest.raises(ClusterkitError):
        certify(batch.run, fresh=True, max_error=5)
    assert (batch.folder / "plan.json").is_file()
    # A folder that is gone leaves those that were put aside.
    shutil.rmtree(batch.folder)
    assert certify(batch.run).proof.plan.version == 2


def test_an_end_between_the_table_and_its_record_leaves_what_was_replaced(batch, monkeypatch):
    certify(batch.run, max_error=ERROR)
    before = hashlib.sha256(batch.csv.read_bytes()).hexdigest()
    reviews = batch.write(batch.rows(first(batch, 12)))
    rename = os.replace

    def full(source, target):
        if str(target).endswith("assignments.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(assignment_pair.os, "replace", full)
        with pytest.raises(ClusterkitError, match="the disk is full"):
            certify(batch.run, reviews=reviews)
    assert hashlib.sha256(batch.csv.read_bytes()).hexdigest() != before
    for _ in range(2):
        certify(batch.run, reviews=reviews)
        assert json.loads((batch.folder / "certificate.json").read_text())["before"] == before
    assert verify(batch.folder).stands


def test_a_certificate_that_cannot_be_written_leaves_nothing(batch, monkeypatch):
    certify(batch.run, max_error=ERROR)
    reviews = batch.write(batch.rows(first(batch, 12)))
    before = batch.csv.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clusterkit.certifying.certify.write_certificate_page", full)
    with pytest.raises(ClusterkitError, match="the disk is full"):
        certify(batch.run, reviews=reviews)
    assert batch.csv.read_bytes() == before
    assert not [p.name for p in batch.run.rglob("*") if p.name.endswith(".partial")]


def test_pictures_that_a_killed_certify_left_are_removed(batch):
    page = certify(batch.run, max_error=ERROR).page
    picture = next((page.parent / "thumbs").iterdir())
    left = [picture.with_name(f".{picture.name}.{n}123abcd.partial") for n in range(2)]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (time.time() - 7200,) * 2)
    certify(batch.run)
    # The other may be one that somebody is just writing.
    assert [path.exists() for path in left] == [False, True]


def test_a_copy_that_was_interrupted_is_made_whole(batch):
    certify(batch.run, max_error=ERROR)
    record = batch.folder / "assignments.json"
    about = record.read_bytes()
    for name in ("plan.json", "index.html", "sample.csv", "assignments.json"):
        (batch.folder / name).unlink()
    shutil.rmtree(batch.folder / "thumbs")
    certify(batch.run, max_error=ERROR)
    assert record.read_bytes() == about


def test_a_drawing_that_was_interrupted_is_gone_on_with(batch):
    certify(batch.run, max_error=ERROR)
    sample = (batch.folder / "sample.csv").read_bytes()
    (batch.folder / "plan.json").unlink()
    for name in ("index.html",):
        (batch.folder / name).unlink()
    shutil.rmtree(batch.folder / "thumbs")
    certify(batch.run, max_error=ERROR)
    assert (batch.folder / "sample.csv").read_bytes() == sample


def test_the_next_commands_name_what_they_need(batch, command, tmp_path):
    code, out, _ = command("certify", "--run", str(batch.run), "--out", str(tmp_path / "a b"))
    assert code == 0
    assert out.count(f"--out '{tmp_path / 'a b'}'") == 2
    page = (tmp_path / "a b" / "index.html").read_text(encoding="utf-8")
    assert "/a b" in page[page.index("<pre>") : page.index("</pre>")]


def test_a_longer_sample_leaves_the_certificate_as_it_is(batch):
    certify(batch.run, max_error=0.35, budget=8)
    certify(batch.run, reviews=batch.write(batch.rows(first(batch, 8))))
    shutil.rmtree(batch.folder / "thumbs")
    assert verify(batch.folder).stands
    certify(batch.run, budget=20)
    assert verify(batch.folder).stands


def test_a_label_that_is_no_class_is_said(batch, caplog):
    certify(batch.run, max_error=ERROR)
    rows = batch.rows(first(batch, 3))
    rows[1] |= {"label": "Ring", "decision": "relabel"}
    assert certify(batch.run, reviews=batch.write(rows)).record.different == 1.0
    assert "answers name 'Ring'" in caplog.text
    assert "ring" in caplog.text


def test_none_of_these_is_another_answer_than_cannot_tell(batch):
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 3)
    rows = batch.rows(ids)
    rows[0] |= {"label": "", "decision": "reject", "note": "none of these"}
    other = rows[0] | {"reviewer": "Dr B", "note": "can't tell", "time": "2099-01-02T00:00:00Z"}
    record = certify(batch.run, reviews=batch.write([*rows, other])).record
    table = read_assignments(batch.csv).set_index("image_id")
    assert table.loc[ids[0], "reason"] == (
        "readers disagree: Dr A: none of these, Dr B: can't tell"
    )
    assert record.different == 1.0


def test_a_plan_that_was_changed_is_refused(batch):
    certify(batch.run, max_error=ERROR)
    reviews = batch.write(batch.rows(first(batch, 4)))
    certify(batch.run, reviews=reviews)
    path = batch.folder / "plan.json"
    text = path.read_text()
    for old, new, message in (
        ('"confidence": 0.9', '"confidence": 0.7', "was changed since"),
        ('"confidence": 0.9', '"confidence": 1.5', "confidence is 1.5"),
        ('"listed_sets": 1', '"listed_sets": 99', "listed_sets is 99"),
        ('"seed": 0', '"seed": -1', "seed is -1"),
        ('"assignments": "../assignments.csv"', '"assignments": "/etc/passwd"', "assignments is"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ClusterkitError, match=message):
            certify(batch.run, reviews=reviews)
    path.write_text(text)
    assert verify(batch.folder).stands


def test_a_rejection_without_a_reason_says_no_more_than_that(batch):
    """As Label Studio and the audit page write it: neither "can't tell" nor "none of these"."""
    certify(batch.run, max_error=ERROR)
    ids = first(batch, 3)
    rows = batch.rows(ids)
    rows[1] |= {"label": "", "decision": "reject", "reviewer": ""}
    record = certify(batch.run, reviews=batch.write(rows)).record
    assert (record.different, record.cannot_tell) == (1.0, 0)
    row = read_assignments(batch.csv).set_index("image_id").loc[ids[1]]
    assert row["status"] == "review"
    assert row["reason"] == "(no name) rejected the label and gave no other"
