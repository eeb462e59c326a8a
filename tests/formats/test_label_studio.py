"""Label Studio's JSON and JSON_MIN exports, read as reviews; hostile ones are one line."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterkit
from clusterkit import review
from clusterkit.errors import DataError
from clusterkit.exporting.export import export
from clusterkit.formats.label_studio import MAX_BYTES, read_label_studio
from clusterkit.formats.reviews import read_reviews


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def choice(label: str) -> dict:
    return {"id": "x", "from_name": "label", "to_name": "image", "type": "choices",
            "value": {"choices": [label]}}  # fmt: skip


def typed(label: str) -> dict:
    return {"id": "y", "from_name": "new_label", "to_name": "image", "type": "textarea",
            "value": {"text": [label]}}  # fmt: skip


def annotation(*result: dict, **more) -> dict:
    times = {"created_at": "2026-01-01T10:00:00.5Z", "updated_at": "2026-01-01T11:00:00.5Z"}
    base = {"id": 1, "result": list(result), "was_cancelled": False, "completed_by": 7}
    return base | times | more


def labelled(*annotations: dict, **data) -> dict:
    return {"id": 5, "annotations": list(annotations),
            "data": {"image": "u", "image_id": "ab12", "image_name": "a.png",
                     "predicted_label": "ring"} | data}  # fmt: skip


def read_one(tmp_path: Path, *tasks: dict) -> list[tuple]:
    path = tmp_path / "project.json"
    path.write_text(json.dumps(tasks))
    rows = read_reviews(path)
    return list(rows[["image_id", "label", "decision"]].itertuples(index=False, name=None))


def test_decisions(tmp_path):
    for result, expected in [
        ([choice("ring")], ("ring", "accept")),
        ([choice("rod")], ("rod", "relabel")),
        ([choice("ring"), typed(" odd ")], ("odd", "relabel")),
        ([choice("rod"), typed("ring")], ("ring", "accept")),
        ([choice("rod"), typed("")], ("rod", "relabel")),
        ([], ("", "skip")),
        ([{"type": "rectanglelabels", "from_name": "box", "value": {}}], ("", "skip")),
    ]:
        assert read_one(tmp_path, labelled(annotation(*result))) == [("ab12", *expected)]
    skipped = labelled(annotation(choice("rod"), was_cancelled=True))
    assert read_one(tmp_path, skipped) == [("ab12", "", "skip")]
    # Nobody looked at it; one that somebody did look at has to be there.
    other = labelled(annotation(choice("ring")), image_id="cd34")
    assert read_one(tmp_path, labelled(), other) == [("cd34", "ring", "accept")]
    with pytest.raises(DataError, match="none of its 1 tasks has been annotated"):
        read_one(tmp_path, labelled())
    # Without clusterkit's own field the task's prediction tells.
    task = labelled(annotation(choice("rod"))) | {"predictions": [{"result": [choice("rod")]}]}
    del task["data"]["predicted_label"]
    assert read_one(tmp_path, task) == [("ab12", "rod", "accept")]


def test_the_annotation_updated_last_counts(tmp_path):
    early = annotation(choice("rod"), updated_at="2026-01-01T12:00:00+02:00")
    late = annotation(choice("ring"), updated_at="2026-01-01T11:00:00Z")
    for pair in ((early, late), (late, early)):
        assert read_one(tmp_path, labelled(*pair)) == [("ab12", "ring", "accept")]
    never = annotation(choice("rod"), updated_at=None, created_at=None)
    assert read_one(tmp_path, labelled(late, never)) == [("ab12", "ring", "accept")]


def test_json_min(tmp_path):
    base = {"image": "u", "image_id": "ab12", "image_name": "a.png", "predicted_label": "ring",
            "id": 1, "annotator": 4, "annotation_id": 9, "created_at": "2026-01-01T10:00:00Z",
            "updated_at": "2026-01-01T10:00:00Z", "lead_time": 2.5}  # fmt: skip
    later = base | {"updated_at": "2026-01-01T10:30:00Z"}
    for records, expected in [
        ([base | {"label": "ring"}], [("ab12", "ring", "accept")]),
        ([base | {"label": "rod"}], [("ab12", "rod", "relabel")]),
        ([base | {"label": "ring", "new_label": "odd"}], [("ab12", "odd", "relabel")]),
        ([base | {"label": "ring", "new_label": {"text": ["odd"]}}], [("ab12", "odd", "relabel")]),
        ([base | {"label": [{"choices": ["rod"]}]}], [("ab12", "rod", "relabel")]),
        ([base], [("ab12", "", "skip")]),
        ([later | {"label": "rod"}, base | {"label": "rod"}], [("ab12", "rod", "relabel")]),
        ([base | {"label": "|reject|"}], [("ab12", "", "reject")]),
        ([base | {"annotation_id": None, "image_id": "x"}, base | {"label": "rod"}],
         [("ab12", "rod", "relabel")]),
    ]:  # fmt: skip
        assert read_one(tmp_path, *records) == expected


def test_json_min_is_refused_where_ground_truth_may_decide(tmp_path, caplog):
    """It holds no mark of it, and none of the skipped annotations."""
    base = {"image_id": "ab12", "image_name": "a.png", "predicted_label": "ring", "id": 1,
            "annotator": 4, "annotation_id": 9, "updated_at": "2026-01-01T10:00:00Z"}  # fmt: skip
    rod, ring = base | {"label": "rod"}, base | {"label": "ring", "annotator": 5}
    for records in [(rod, ring), (ring, rod), (rod, ring | {"annotator": 4}),
                    (rod, base), (rod, base | {"label": "|reject|", "annotator": 5})]:  # fmt: skip
        with pytest.raises(DataError, match=r"of 'a.png' differ .*; export the project as JSON"):
            read_one(tmp_path, *records)
    other = [record | {"image_id": "cd34"} for record in (rod, ring)]
    with pytest.raises(DataError, match=r"task 1 and 2: .*'rod'\), and so do those of 1 more"):
        read_one(tmp_path, rod, ring, *other)
    assert not caplog.records
    # Another person's empty annotation takes nothing back, marked or not.
    both = [("ab12", "", "skip"), ("ab12", "rod", "relabel")]
    assert sorted(read_one(tmp_path, rod, base | {"annotator": 5})) == both
    assert "JSON-MIN, which holds no skipped annotations" in caplog.text
    caplog.clear()
    read_one(tmp_path, labelled(annotation(choice("rod"))))
    assert not caplog.records


def test_the_choice_for_an_unknown_truth_is_a_reject(tmp_path):
    reject = choice("|reject|")
    assert read_one(tmp_path, labelled(annotation(reject))) == [("ab12", "", "reject")]
    # A label that is typed in counts before the choices.
    assert read_one(tmp_path, labelled(annotation(reject, typed("odd")))) == [
        ("ab12", "odd", "relabel")
    ]
    truth = labelled(annotation(reject, ground_truth=True))
    path = tmp_path / "project.json"
    assert read_one(tmp_path, truth) == [("ab12", "", "reject")]
    assert read_reviews(path)["ground_truth"].tolist() == ["yes"]


def test_another_question_s_answer_is_no_label(tmp_path, caplog):
    good = choice("good") | {"from_name": "quality"}
    tasks = [labelled(annotation(choice("rod"), good)),
             labelled(annotation(good), image_id="cd34")]  # fmt: skip
    assert read_one(tmp_path, *tasks) == [("ab12", "rod", "relabel"), ("cd34", "", "skip")]
    assert "1 submitted annotations hold no label and count as skips, e.g. of task 2" in caplog.text
    # A project whose only question was renamed.
    assert read_one(tmp_path, tasks[1]) == [("cd34", "good", "relabel")]
    caplog.clear()
    box = {"type": "rectanglelabels", "from_name": "box", "value": {"rectanglelabels": ["rod"]}}
    assert read_one(tmp_path, labelled(annotation(*[box] * 10_000))) == [("ab12", "", "skip")]
    assert "e.g. of task 1, which holds rectanglelabels" in caplog.text


def test_drafts_and_tasks_without_answers_are_said(tmp_path, caplog):
    drafted = labelled() | {"drafts": [{"result": [choice("rod")]}]}
    read_one(tmp_path, drafted, labelled(annotation(choice("rod")), image_id="cd34"))
    assert "1 tasks hold drafts, which do not count until they are submitted" in caplog.text
    with pytest.raises(DataError, match=r"none of its 1 tasks .*; 1 hold drafts"):
        read_one(tmp_path, drafted)
    imported = labelled()
    del imported["id"], imported["annotations"]
    with pytest.raises(DataError, match="as they are imported into Label Studio; give the JSON"):
        read_one(tmp_path, imported)


def test_an_image_that_was_imported_twice_is_one(tmp_path):
    early = annotation(choice("rod"), updated_at="2026-01-01T09:00:00Z")
    tasks = [labelled(annotation(choice("ring"))), labelled(early)]
    assert read_one(tmp_path, *tasks) == [("ab12", "ring", "accept")]


@pytest.mark.parametrize("end", [",", ";", "\t"])
def test_its_csv_and_tsv_are_recognised(command, run, assignment, tmp_path, end):
    names = ["annotation_id", "annotator", "created_at", "id", "image", "image_id", "label",
             "lead_time", "updated_at"]  # fmt: skip
    (tmp_path / "p.csv").write_text(end.join(names) + "\n" + end.join("1" * 9) + "\n")
    code, _, err = command("review", tmp_path / "p.csv", "--run", run.path)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "is what Label Studio exports as CSV or TSV" in err
    assert "export the project as JSON" in err
    (tmp_path / "p.ZIP").write_bytes(b"PK\x05\x06" + bytes(18))
    code, _, err = command("review", tmp_path / "p.ZIP", "--run", run.path)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "is a ZIP archive, as Label Studio packs COCO" in err


def test_a_label_that_was_renamed_there_is_a_new_class(command, run, assignment, tmp_path):
    identity = assignment.table["image_id"].iloc[0]
    path = tmp_path / "project.json"
    path.write_text(json.dumps([labelled(annotation(choice("Rings")), image_id=identity)]))
    code, text, _ = command("review", path, "--run", run.path)
    assert code == 0
    assert "new classes: 'Rings' (did you mean 'ring'?)" in text


@pytest.mark.parametrize(
    ("by", "reviewer"),
    [
        (7, "label-studio:7"),
        ({"id": 8, "email": "a@b.example", "first_name": "Ann"}, "label-studio:8"),
        ({"email": "a@b.example"}, "a@b.example"),
        ("a@b.example", "a@b.example"),
        (None, ""),
    ],
)
def test_reviewer_and_time(tmp_path, by, reviewer):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([labelled(annotation(choice("rod"), completed_by=by))]))
    (row,) = read_reviews(path).itertuples()
    assert (row.reviewer, row.time, row.image) == (reviewer, "2026-01-01T11:00:00.5Z", "a.png")


def with_task(**more) -> bytes:
    return json.dumps([labelled(annotation(choice("rod"))) | more]).encode()


def with_annotation(**more) -> bytes:
    return json.dumps([labelled(annotation(choice("rod"), **more))]).encode()


def with_data(**more) -> bytes:
    return json.dumps([labelled(annotation(choice("rod")), **more)]).encode()


LONG = "x" * 10_000_000

HOSTILE = {
    "not JSON": (b"[{", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "binary": (b"\xff\xfe[", "not UTF-8"),
    "deep": (b"[" * 1_000_000, "nested too deeply"),
    "deep objects": (b'[{"data":' * 100_000, "nested too deeply"),
    "an object": (b'{"a": 1}', "holds an object"),
    "COCO": (b'{"images": [], "annotations": [], "categories": []}', "in COCO's format"),
    "YOLO": (b'{"categories": [], "info": {}}', "writes it beside YOLO's labels"),
    "10,000": (with_annotation(result=[choice(str(i)) for i in range(10_000)]), "10000 labels"),
    "other run": (with_data(image_id="12ab"), "name the run that the reviews are of (review --run"),
    "empty list": (b"[]", "is an empty list"),
    "list of lists": (b"[[]]", "task 1: it is a list"),
    "NaN": (b'[{"data": {"confidence": NaN}}]', "NaN is no JSON value"),
    "twice": (b'[{"data": {}, "data": {}}]', "has the key 'data' twice"),
    "long number": (b"[" + b"1" * 10_000 + b"]", "not valid JSON"),
    "data": (with_task(data=[]), "data is a list, and must be an object"),
    "annotations": (with_task(annotations={}), "annotations are an object, and must be a list"),
    "ids only": (with_task(annotations=[5]), "an annotation is a number"),
    "result": (with_annotation(result="x"), "result is text, and must be a list"),
    "result item": (with_annotation(result=[3]), "a result is a number"),
    "value": (with_annotation(result=[choice("a") | {"value": None}]), "a value is null"),
    "choices": (with_annotation(result=[choice(5)]), "choices is a number, and must be text"),
    "two": (with_annotation(result=[choice("a"), choice("b")]), "it has 2 labels, 'a' and 'b'"),
    "piped": (with_annotation(result=[choice("a|b")]), "task 1: label 'a|b' holds '|'"),
    "line break": (with_annotation(result=[typed("a\nb")]), "control character"),
    "half": (with_annotation(result=[typed("a\ud800")]), "half a character"),
    "time": (with_annotation(updated_at="yesterday"), "updated_at 'yesterday' is no time"),
    "time type": (with_annotation(updated_at=5), "updated_at is a number"),
    "reviewer": (with_annotation(completed_by=[1]), "completed_by is a list"),
    "no id": (with_data(image_id=None), "data.image_id '' names no image"),
    "id type": (with_data(image_id={}), "data.image_id is an object"),
    "cluster": (with_data(image_id="cluster:0"), "names no image"),
    "long id": (with_data(image_id=LONG), "image_id has 10,000,000 characters"),
    "long label": (with_annotation(result=[typed(LONG)]), "text has 10,000,000 characters"),
    "long key": (json.dumps([{LONG: 1}]).replace("}]", ',"' + LONG + '": 2}]').encode(), "twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_one_line(command, run, assignment, tmp_path, name):
    content, message = HOSTILE[name]
    path = tmp_path / "project.json"
    path.write_bytes(content)
    started = time.perf_counter()
    code, out, err = command("review", path, "--run", run.path)
    assert time.perf_counter() - started < 10
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert len(err) < 600


def test_json_too_large_is_not_read(tmp_path):
    path = tmp_path / "p.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="export fewer tasks"):
        read_label_studio(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["ab12", "2026-01-01T10:00:00Z", "choices", "textarea", "label"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["data", "annotations", "result", "value", "choices", "text", "type",
                         "image_id", "image_name", "predicted_label", "label", "new_label",
                         "completed_by", "updated_at", "was_cancelled", "predictions", "id",
                         "email", "annotation_id", "annotator", "from_name"]),
        inner, max_size=6),
    max_leaves=25,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(values=JSON, place=st.sampled_from(["all", "task", "data", "annotation", "result"]))
def test_only_data_errors_come_out(tmp_path_factory, values, place):
    tasks = {
        "all": values,
        "task": [values],
        "data": [labelled(annotation(choice("rod"))) | {"data": values}],
        "annotation": [labelled(values)],
        "result": [labelled(annotation(values))],
    }[place]
    path = tmp_path_factory.mktemp("f") / "p.json"
    path.write_text(json.dumps(tasks))
    try:
        rows = read_reviews(path)
    except DataError:
        return
    assert set(rows["decision"]) <= {"accept", "relabel", "reject", "skip"}
    assert all(isinstance(v, str) for c in ("image_id", "label", "reviewer") for v in rows[c])


def test_a_list_is_json_whatever_it_is_called(tmp_path):
    path = tmp_path / "reviews.txt"
    path.write_bytes(b"\xef\xbb\xbf \n" + with_task())
    assert read_reviews(path)["label"].tolist() == ["rod"]


def test_json_to_csv_and_to_the_next_run(command, run, assignment, sample, tmp_path):
    """A project is exported, labelled, written as reviews.csv, and is in the next run."""
    table = assignment.table
    asked = table[table["status"] == "review"].head(2)
    result = export(run, "label-studio", tmp_path / "out")
    tasks = json.loads((result.path / "tasks.json").read_text())
    answers = dict(zip(asked["image_id"], ("=odd", None), strict=True))
    for task in tasks:
        identity = task["data"]["image_id"]
        if identity in answers:
            label = answers[identity]
            given = [typed(label)] if label else task["predictions"][0]["result"]
            task["annotations"] = [annotation(*given)]
    project = tmp_path / "project.json"
    project.write_text(json.dumps(tasks))
    out = tmp_path / "reviews.csv"
    code, text, _ = command("review", project, "--run", run.path, "--out", out, "--json")
    assert code == 0
    summary = json.loads(text)
    assert summary["decisions"] == {"accept": 1, "relabel": 1, "reject": 0, "skip": 0}
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image_id", "image", "label", "decision", "reviewer", "time", "note"]
    assert {row[2] for row in rows[1:]} == {"'=odd", asked["predicted_label"].iloc[1]}
    assert review(out, run.path)["labels"] == summary["labels"]
    # The same again is no loss; anything else there is left alone.
    assert command("review", project, "--run", run.path, "--out", out)[0] == 0
    out.write_text("mine")
    code, _, err = command("review", project, "--run", run.path, "--out", out)
    assert code == 1
    assert "holds something else" in err
    assert out.read_text() == "mine"
    for name in ("assignments.csv", "assignments.json", "manifest.csv"):
        shutil.copy(run.path / name, tmp_path)
    record = json.loads((tmp_path / "assignments.json").read_text())
    record["input_root"] = os.path.relpath(sample, tmp_path)
    (tmp_path / "assignments.json").write_text(json.dumps(record))
    # Elsewhere its run is named.
    elsewhere = tmp_path / "downloads" / "project.json"
    elsewhere.parent.mkdir()
    project.rename(elsewhere)
    again = clusterkit.fit(sample / "labels.csv", config=run.config, run=tmp_path / "again",
                           reviews=[elsewhere], reviews_of=tmp_path)  # fmt: skip
    labels = again.manifest.set_index("image_id")["label"]
    assert labels[asked["image_id"]].tolist() == ["=odd", asked["predicted_label"].iloc[1]]
