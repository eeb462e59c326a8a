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
        ([later | {"label": "rod"}, base | {"label": "ring"}], [("ab12", "rod", "relabel")]),
        ([base | {"annotation_id": None, "image_id": "x"}, base | {"label": "rod"}],
         [("ab12", "rod", "relabel")]),
    ]:  # fmt: skip
        assert read_one(tmp_path, *records) == expected


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
    assert set(rows["decision"]) <= {"accept", "relabel", "skip"}
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
    again = clusterkit.fit(sample / "labels.csv", config=run.config, run=tmp_path / "again",
                           reviews=[project])  # fmt: skip
    labels = again.manifest.set_index("image_id")["label"]
    assert labels[asked["image_id"]].tolist() == ["=odd", asked["predicted_label"].iloc[1]]
