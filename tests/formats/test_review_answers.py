"""Several reviewers: whose answer holds, who disagrees, and rows about clusters of elsewhere."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.errors import DataError
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_answers import read_time
from clusterkit.formats.review_settling import describe, settle, summarise
from clusterkit.formats.reviews import read_reviews, spread_reviews
from clusterkit.reviewing import write_reviews

NAMES = ["image_id", "image", "label", "decision", "reviewer", "time", "note", "assignments"]
IDS = [f"{i:x}abcdef012345678"[:16] for i in range(6)]
NOBODY = pd.DataFrame({"image_id": [], "label": []}, dtype=object)

TABLE = pd.DataFrame(
    {
        "image": [f"{i}.png" for i in range(6)],
        "image_id": IDS,
        "predicted_label": ["a", "a", "b", "b", "a", ""],
        "cluster": pd.array([0, 0, 0, 1, 1, None], dtype="Int64"),
        "group": "",
    }
)


def write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    """Write (image_id, label, decision, reviewer, time[, assignments]) rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(NAMES)
        for image_id, label, decision, reviewer, time, *more in rows:
            out.writerow([image_id, "", label, decision, reviewer, time, "", *more])
    return path


def judged(folder: Path, *files: list[tuple[str, ...]]) -> tuple[dict[str, str], dict]:
    """Return the label that holds for each image, and the summary."""
    return judged_files([write(folder / f"r{i}.csv", rows) for i, rows in enumerate(files)])


def judged_files(paths: list[Path]) -> tuple[dict[str, str], dict]:
    assigned = Assigned(TABLE, paths[0].parent, "a.csv")
    parts = [spread_reviews(path, assigned, NOBODY) for path in paths]
    settled = settle(parts, NOBODY)
    labels = dict(zip(settled["image_id"], settled["label"], strict=True))
    return labels, summarise(parts, settled, NOBODY)


def at(minute: int) -> str:
    return f"2026-11-20T09:{minute:02d}:00Z"


def test_two_readers_who_disagree_are_named(tmp_path):
    rows = [(IDS[0], "a", "accept", "ann", at(0)), (IDS[1], "a", "accept", "ann", at(1)),
            (IDS[0], "b", "relabel", "ben", at(2)), (IDS[1], "a", "accept", "ben", at(3)),
            (IDS[2], "", "reject", "ann", at(4)),
            (IDS[2], "b", "accept", "ben", at(5))]  # fmt: skip
    labels, summary = judged(tmp_path, rows)
    assert labels == {IDS[0]: "b", IDS[1]: "a", IDS[2]: "b"}
    found = summary["disagreements"]
    assert (found["count"], found["between"]) == (2, [["ann", "ben", 2]])
    assert found["list"][0]["image"] == "0.png"
    assert [(s["reviewer"], s["label"]) for s in found["list"][0]["said"]] == [
        ("ann", "a"), ("ben", "b"),
    ]  # fmt: skip
    text = "\n".join(describe(summary))
    assert "disagree   reviewers on 2 images or clusters: ann and ben 2" in text
    assert "0.png: ann: a, ben: b; b holds" in text
    # The same in two files.
    assert judged(tmp_path, rows[:2], rows[2:])[1]["disagreements"]["count"] == 2


@pytest.mark.parametrize(
    ("note", "settled"),
    [("settled", 1), ("blurred; settled", 1), ("", 0), ("not settled", 0), ("settled it", 0)],
)
def test_an_answer_with_the_others_in_sight_settles(tmp_path, note, settled):
    path = write(tmp_path / "r.csv", [(IDS[0], "a", "accept", "ann", at(0)),
                                      (IDS[1], "a", "accept", "ann", at(0)),
                                      (IDS[0], "b", "relabel", "ben", at(2)),
                                      (IDS[1], "b", "relabel", "ben", at(2))])  # fmt: skip
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[2, "note"] = note
    table.to_csv(path, index=False)
    _, summary = judged_files([path])
    found = summary["disagreements"]
    assert (found["count"], found["settled"]) == (2, settled)
    words = ", 1 of them settled" * settled
    assert f"reviewers on 2 images or clusters{words}: ann and ben 2" in "\n".join(
        describe(summary)
    )


def test_one_person_who_thinks_again_does_not_disagree(tmp_path):
    rows = [(IDS[0], "a", "accept", "Ann ", at(0)), (IDS[0], "b", "relabel", "ann", at(1))]
    labels, summary = judged(tmp_path, rows)
    assert (labels, summary["disagreements"]["count"]) == ({IDS[0]: "b"}, 0)


def test_names_of_clusters_are_answers_too(tmp_path):
    rows = [("cluster:0", "a", "relabel", "ann", at(0)),
            ("cluster:0", "b", "relabel", "ben", at(1)),
            (IDS[3], "b", "accept", "ann", at(2)), ("cluster:1", "a", "relabel", "ben", at(3)),
            (IDS[4], "b", "relabel", "ben", at(4))]  # fmt: skip
    labels, summary = judged(tmp_path, rows)
    assert labels == {IDS[0]: "b", IDS[1]: "b", IDS[2]: "b", IDS[3]: "b", IDS[4]: "b"}
    assert [d["image_id"] for d in summary["disagreements"]["list"]] == ["cluster:0", IDS[3]]


@pytest.mark.parametrize("latest_first", [True, False])
def test_the_latest_holds_however_the_rows_are_sorted(tmp_path, latest_first):
    rows = [(IDS[0], "a", "relabel", "ann", at(0)), (IDS[0], "c", "relabel", "ben", at(30))]
    labels, summary = judged(tmp_path, rows[::-1] if latest_first else rows)
    assert labels == {IDS[0]: "c"}
    assert summary["times"]["contradict"] == summary["times"]["changed"] == int(latest_first)
    assert ("which changes 1 answers" in "\n".join(describe(summary))) == latest_first


@pytest.mark.parametrize(
    "times",
    [
        ("28.11.2026 10:00", "27.11.2026 10:00"),
        ("11/28/2026", "11/27/2026"),
        ("2026-11-28T10:00:00Z", "2026-11-27 10:00"),
        ("2026-11-28", "2026-11-27T10:00:00"),
        ("2026-11-28T10:00:00Z", ""),
        ("2026-02-30T10:00:00Z", "2026-02-01T10:00:00Z"),
    ],
)
def test_where_times_cannot_be_compared_the_later_row_holds(tmp_path, times):
    labels, summary = judged(
        tmp_path, [(IDS[0], label, "relabel", "ann", time)
                   for label, time in zip("ab", times, strict=True)]
    )  # fmt: skip
    assert labels == {IDS[0]: "b"}
    assert summary["times"]["unread"] == 1
    assert "cannot be compared" in "\n".join(describe(summary))


def test_a_skip_takes_back_what_the_same_person_said(tmp_path):
    said = (IDS[0], "a", "accept", "ann", "")
    for skip, expected in [("ben", {IDS[0]: "a"}), ("ann", {}), ("", {})]:
        labels, summary = judged(tmp_path, [said, (IDS[0], "", "skip", skip, "")])
        assert labels == expected
        assert summary["no_label"] == ({} if expected else {IDS[0]: "skipped"})
    assert judged(tmp_path, [(IDS[1], "", "reject", "ann", "")])[1]["no_label"] == {
        IDS[1]: "rejected"
    }


WORDS = st.lists(
    st.tuples(
        st.sampled_from([*IDS[:3], "cluster:0", "cluster:1"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["accept", "relabel", "reject", "skip"]),
        st.sampled_from(["ann", "ben", ""]),
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(rows=WORDS, data=st.data())
def test_rows_with_times_may_stand_in_any_order_and_in_any_file(rows, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    timed = [(*row, at(i)) for i, row in enumerate(rows)]
    shuffled = data.draw(st.permutations(timed))
    cut = data.draw(st.integers(1, len(rows)))
    files = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    before, after = judged(folder, timed), judged(folder, *files)
    assert before[0] == after[0]
    assert before[1]["disagreements"] == after[1]["disagreements"] | {
        "list": before[1]["disagreements"]["list"]
    }
    assert before[1]["no_label"] == after[1]["no_label"]


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_none(text):
    read_time(text)


def test_a_cluster_of_other_assignments_is_an_error(tmp_path):
    own = Assigned(TABLE, tmp_path, "a.csv").fingerprint
    row = ("cluster:0", "a", "relabel", "ann", "")
    assert judged(tmp_path, [(*row, own)])[0] == dict.fromkeys(IDS[:3], "a")
    other = TABLE.assign(cluster=TABLE["cluster"][::-1].to_numpy())
    foreign = Assigned(other, tmp_path, "b.csv").fingerprint
    assert foreign != own
    with pytest.raises(DataError, match=rf"assignments '{foreign}', and a.csv has the .* {own}"):
        judged(tmp_path, [(*row, foreign)])
    # Written by hand: taken as before, and said.
    assert judged(tmp_path, [row])[1]["unnamed_clusters"] == 1
    # A fingerprint is of what is in which cluster, in whatever order.
    assert Assigned(TABLE[::-1], tmp_path, "a.csv").fingerprint == own


def test_what_is_said_of_a_cluster_after_a_check_is_about_the_others(tmp_path):
    # Of the three of cluster 0 a person answered the first, and the second is certified.
    labels = TABLE["predicted_label"].mask(TABLE["image_id"] == IDS[0], "c")
    status = ["reviewed", "assigned", *["review"] * (len(TABLE) - 2)]
    checked = TABLE.assign(predicted_label=labels, status=status)
    assigned = Assigned(checked, tmp_path, "a.csv")
    original = Assigned(TABLE, tmp_path, "a.csv")
    before, after = original.fingerprint, assigned.open_fingerprint
    assert assigned.fingerprint == before != after
    row = ("cluster:0", "d", "relabel", "ann", "")

    def said(*rows, of: Assigned = assigned) -> dict[str, str]:
        part = [spread_reviews(write(tmp_path / "r.csv", list(rows)), of, NOBODY)]
        settled = settle(part, NOBODY)
        return dict(zip(settled["image_id"], settled["label"], strict=True))

    # Before it, of all; a person's answer to one image is no cluster's to change.
    for about in (before, ""):
        assert said((*row, about)) == dict.fromkeys(IDS[1:3], "d")
    assert said((*row, after)) == {IDS[2]: "d"}
    # The table as it was before the check takes the file all the same.
    assert said((*row, after), of=original) == dict.fromkeys(IDS[:3], "d")
    # And the answer itself is learned from, however it is written.
    for label in ("", "c"):
        own = (IDS[0], label, "accept", "ann", "")
        assert said((*row, after), own) == {IDS[2]: "d", IDS[0]: "c"}


def test_a_class_that_was_answered_in_a_check_is_new_to_the_model(tmp_path):
    checked = TABLE.assign(status=["reviewed", *["review"] * (len(TABLE) - 1)])
    checked.loc[0, "predicted_label"] = "rosette"
    path = write(tmp_path / "r.csv", [(IDS[0], "rosette", "relabel", "ann", "")])
    part = [spread_reviews(path, Assigned(checked, tmp_path, "a.csv"), NOBODY)]
    assert set(summarise(part, settle(part, NOBODY), NOBODY)["new_classes"]) == {"rosette"}


def annotation(label: str, by: int, minute: int, **more) -> dict:
    result = [{"from_name": "label", "to_name": "image", "type": "choices",
               "value": {"choices": [label]}}]  # fmt: skip
    return {"result": result, "completed_by": by, "updated_at": at(minute)} | more


@pytest.mark.parametrize("truth", [True, False])
def test_label_studio_s_people_and_its_ground_truth(tmp_path, truth):
    both = [annotation("a", 1, 0, ground_truth=truth), annotation("c", 2, 1)]
    path = tmp_path / "project.json"
    data = {"image_id": IDS[0], "image_name": "0.png", "predicted_label": "a"}
    path.write_text(json.dumps([{"data": data, "annotations": both}]))
    assigned = Assigned(TABLE, tmp_path, "a.csv")
    write_reviews(read_reviews(path), tmp_path / "r.csv")
    for file in (path, tmp_path / "r.csv"):
        part = [spread_reviews(file, assigned, NOBODY)]
        settled = settle(part, NOBODY)
        assert settled["label"].tolist() == ["a" if truth else "c"]
        summary = summarise(part, settled, NOBODY)
        assert summary["disagreements"]["between"] == [["label-studio:1", "label-studio:2", 1]]
        assert summary["disagreements"]["list"][0]["holds"] == ("a" if truth else "c")
        assert summary["times"]["contradict"] == 0


def test_label_studio_s_two_forms_say_the_same(tmp_path):
    data = {"image_id": IDS[0], "image_name": "0.png", "predicted_label": "a"}
    (tmp_path / "full.json").write_text(
        json.dumps([{"data": data, "annotations": [annotation("c", 1, 0), annotation("c", 2, 1)]}])
    )
    flat = [data | {"annotation_id": i, "annotator": by, "label": label, "updated_at": at(minute)}
            for i, (label, by, minute) in enumerate([("c", 2, 1), ("c", 1, 0)])]  # fmt: skip
    (tmp_path / "flat.json").write_text(json.dumps(flat))
    columns = ["image_id", "label", "decision", "reviewer", "time"]
    full, short = (read_reviews(tmp_path / f"{n}.json")[columns] for n in ("full", "flat"))
    assert full.values.tolist() == short.values.tolist()


def test_ground_truth_holds_before_all_later_ones(tmp_path):
    """Whoever said what later, themselves too, and in the CSV that `review --out` writes."""
    said = [annotation("b", 3, 0), annotation("a", 1, 1, ground_truth=True), annotation("c", 2, 2),
            annotation("c", 1, 3), annotation("b", 1, 4, was_cancelled=True)]  # fmt: skip
    path, out = tmp_path / "project.json", tmp_path / "r.csv"
    data = {"image_id": IDS[0], "image_name": "0.png", "predicted_label": "a"}
    path.write_text(json.dumps([{"data": data, "annotations": said}]))
    write_reviews(read_reviews(path), out)
    later = write(tmp_path / "later.csv", [(IDS[0], "c", "relabel", "ann", at(9))])
    for files in ([path], [out], [path, later], [out, later], [later, out]):
        labels, summary = judged_files(files)
        assert labels == {IDS[0]: "a"}
        assert summary["disagreements"]["list"][0]["holds"] == "a"


def test_a_second_person_s_skip_leaves_the_first_one_s_answer(tmp_path):
    path = tmp_path / "project.json"
    both = [annotation("c", 1, 0), annotation("a", 2, 1, was_cancelled=True)]
    path.write_text(json.dumps([{"data": {"image_id": IDS[0]}, "annotations": both}]))
    part = [spread_reviews(path, Assigned(TABLE, tmp_path, "a.csv"), NOBODY)]
    assert settle(part, NOBODY)["label"].tolist() == ["c"]
