"""A project in a real Label Studio: what `export` says works there, and what comes back is right.

Slow, about two minutes, most of which it takes to start::

    CLUSTERKIT_LABEL_STUDIO=/path/to/label-studio pytest -m slow -n 0 \
        tests/exporting/test_label_studio_server.py
"""

import json
import re
import shutil
from pathlib import Path

import pytest

import clusterkit
from clusterkit.exporting.export import export
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.label_studio_task import REJECT
from clusterkit.formats.review_settling import settle, summarise
from clusterkit.formats.reviews import spread_reviews
from clusterkit.formats.run_files import read_run_manifest
from tests.label_studio_server import Studio, label_studio

TASKS = 30

# Each task's answers in their order: who, what, and how. "=" is the prediction, "other" a class
# that is not, "next" a third one, "skip" Label Studio's own button. Then the label that a person
# would expect: "" for none, None for no answer at all; and whether JSON-MIN can tell.
KINDS = {
    "accepted": ([("ann", "=", {})], "=", True),
    "another class": ([("ann", "other", {})], "other", True),
    "a new label, typed": ([("ben", "typed", {})], "brand new", True),
    "skipped": ([("ann", "skip", {})], "", True),
    "rejected": ([("ben", REJECT, {})], REJECT, True),
    "both of one mind": ([("ann", "other", {}), ("ben", "other", {})], "other", True),
    "mind changed": ([("ann", "other", {}), ("ann", "=", {"instead": True})], "=", True),
    "skipped by the other": ([("ann", "other", {}), ("ben", "skip", {})], "other", True),
    "ground truth, then an ordinary one": (
        [("ann", "other", {"ground_truth": True}), ("ben", "=", {})], "other", False),
    "ground truth, then one's own": (
        [("ben", "other", {"ground_truth": True}), ("ben", "=", {})], "other", False),
    "two disagree": ([("ann", "other", {}), ("ben", "next", {})], "next", False),
    "rejected by the other": ([("ann", "other", {}), ("ben", REJECT, {})], REJECT, False),
    "mind changed, anew": ([("ann", "other", {}), ("ann", "next", {})], "next", False),
    "skipped after all": ([("ben", "other", {}), ("ben", "skip", {})], "", False),
}  # fmt: skip
DISAGREED = ("ground truth, then an ordinary one", "two disagree", "rejected by the other")


def results(answer: str) -> list[dict]:
    """Label Studio's form of an answer."""
    if answer == "skip":
        return []
    if answer == "typed":
        return [{"from_name": "new_label", "to_name": "image", "type": "textarea",
                 "value": {"text": ["brand new"]}}]  # fmt: skip
    return [{"from_name": "label", "to_name": "image", "type": "choices",
             "value": {"choices": [answer]}}]  # fmt: skip


def label_of(answer: str, task: dict, classes: list[str]) -> str:
    predicted = task["data"]["predicted_label"]
    place = classes.index(predicted)
    return {"=": predicted, "other": classes[(place + 1) % len(classes)],
            "next": classes[(place + 2) % len(classes)]}.get(answer, answer)  # fmt: skip


def annotate(studio: Studio, number: int, answers: list, task: dict, classes: list[str]) -> None:
    made: dict[str, int] = {}
    for who, answer, how in answers:
        body = {"result": results(label_of(answer, task, classes)),
                "was_cancelled": answer == "skip"}  # fmt: skip
        token = getattr(studio, who)
        if "instead" in how:
            studio.call("PATCH", f"/api/annotations/{made[who]}/", body, token)
        else:
            path = f"/api/tasks/{number}/annotations/"
            made[who] = studio.call("POST", path, body | how, token)["id"]


def judged(file: Path, run_folder: Path) -> tuple[dict[str, str], dict]:
    """Return the label that holds for each image (`REJECT` for none to be had), and the summary."""
    labelled = read_run_manifest(run_folder)
    parts = [spread_reviews(file, load_assigned(run_folder / "assignments.csv"), labelled)]
    settled = settle(parts, labelled)
    labels = {row.image_id: row.label or REJECT for row in settled.itertuples()}
    return labels, summarise(parts, settled, labelled)


def expected(tasks: list[dict], classes: list[str], kinds: dict) -> dict[str, str]:
    answers = zip(tasks, kinds.values(), strict=False)
    found = {task["data"]["image_id"]: label_of(label, task, classes) for task, (_, label, _)
             in answers}  # fmt: skip
    return {identity: label for identity, label in found.items() if label}


@pytest.fixture(scope="module")
def exported(run, assignment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    result = export(run, "label-studio", folder / "out", status="all")
    tasks = json.loads((result.path / "tasks.json").read_text())[:TASKS]
    assert len(tasks) == TASKS
    return result, tasks


@pytest.fixture(scope="module")
def studio(exported, tmp_path_factory):
    step = next(line for line in exported[0].next if "DOCUMENT_ROOT" in line)
    root = re.search(r"DOCUMENT_ROOT=(\S+) ", step)[1]
    with label_studio(tmp_path_factory.mktemp("studio"), Path(root)) as started:
        started.root = root
        yield started


@pytest.fixture(scope="module")
def project(studio, exported, run) -> tuple[int, dict[str, int]]:
    """A project as the printed steps say, with everybody's answers."""
    result, tasks = exported
    config = (result.path / "label-studio.xml").read_text(encoding="utf-8")
    number = studio.call("POST", "/api/projects", {"title": "all kinds", "label_config": config})[
        "id"
    ]
    studio.call("POST", f"/api/projects/{number}/import", tasks)
    listed = studio.call("GET", f"/api/tasks?project={number}&page_size=100&fields=all")["tasks"]
    numbers = {task["data"]["image_id"]: task["id"] for task in listed}
    assert len(numbers) == TASKS
    for task, (answers, _, _) in zip(tasks, KINDS.values(), strict=False):
        annotate(studio, numbers[task["data"]["image_id"]], answers, task, run.classes)
    return number, numbers


def save(studio: Studio, project: int, kind: str, folder: Path) -> Path:
    suffix = {"JSON": "json", "JSON_MIN": "min.json"}.get(kind, kind.lower())
    path = folder / f"project.{suffix}"
    status, content = studio.raw("GET", f"/api/projects/{project}/export?exportType={kind}")
    assert status == 200
    path.write_bytes(content)
    return path


@pytest.mark.slow
def test_the_printed_folders_serve_the_pictures(studio, project, exported, assignment):
    result, tasks = exported
    url = tasks[0]["data"]["image"]
    assert studio.raw("GET", url)[0] == 404
    storage = {"project": project[0], "path": studio.root}
    status, refused = studio.raw("POST", "/api/storages/localfiles", storage)
    assert (status, b"cannot be the same" in refused) == (400, True)
    step = next(line for line in result.next if "Local Files" in line)
    path = re.search(r"the path (.+?);", step)[1]
    studio.call("POST", "/api/storages/localfiles", {"project": project[0], "path": path})
    image = tasks[0]["data"]["image_name"]
    assert studio.raw("GET", url) == (200, (Path(path).parent / image).read_bytes())


@pytest.mark.slow
def test_pictures_of_odd_names_are_served(studio, run, sample, tmp_path):
    folder = Path(studio.root) / "odd & names"
    paths = sorted(sample.glob("unlabeled/*.png"))
    for place, path in zip(("a b", "Größe", "50%", "x+y", "c#1", "d?e", "f;g", "日本"), paths,
                           strict=False):  # fmt: skip
        (folder / place).mkdir(parents=True)
        shutil.copy(path, folder / place / f"{place}.png")
    clusterkit.assign(run, folder, out=tmp_path / "assignments.csv", config=run.config)
    result = export(run, "label-studio", tmp_path / "out", root=studio.root, status="all",
                    assignments=tmp_path / "assignments.csv")  # fmt: skip
    config = (result.path / "label-studio.xml").read_text(encoding="utf-8")
    body = {"title": "odd names", "label_config": config}
    number = studio.call("POST", "/api/projects", body)["id"]
    step = next(line for line in result.next if "Local Files" in line)
    path = re.search(r"the path (.+?);", step)[1]
    assert path == str(folder)
    studio.call("POST", "/api/storages/localfiles", {"project": number, "path": path})
    tasks = json.loads((result.path / "tasks.json").read_text(encoding="utf-8"))
    assert len(tasks) == 8
    for task in tasks:
        data = task["data"]
        assert studio.raw("GET", data["image"]) == (200, (folder / data["image_name"]).read_bytes())


@pytest.mark.slow
def test_every_kind_of_answer_comes_back(studio, project, exported, run, command, tmp_path):
    _, tasks = exported
    full = save(studio, project[0], "JSON", tmp_path)
    labels, summary = judged(full, run.path)
    assert labels == expected(tasks, run.classes, KINDS)
    found = summary["disagreements"]
    names = dict(zip([t["data"]["image_id"] for t in tasks], KINDS, strict=False))
    assert {names[one["image_id"]] for one in found["list"]} == set(DISAGREED)
    # Through a CSV, and anywhere.
    out = tmp_path / "reviews.csv"
    code, text, err = command("review", full, "--run", run.path, "--out", out)
    assert (code, err) == (0, "")
    assert f"--reviews {out} --reviews-of {run.path}" in text
    assert judged(out, run.path)[0] == labels
    # Here JSON-MIN cannot say the same, and it does not say less.
    short = save(studio, project[0], "JSON_MIN", tmp_path)
    code, _, err = command("review", short, "--run", run.path)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "JSON-MIN does not say which one is ground truth; export the project as JSON" in err
    for kind in ("CSV", "TSV"):
        code, _, err = command("review", save(studio, project[0], kind, tmp_path), "--run",
                               run.path)  # fmt: skip
        assert (code, len(err.splitlines())) == (1, 1)
        assert "Label Studio exports as CSV or TSV" in err


@pytest.mark.slow
def test_both_forms_say_the_same_where_they_can(studio, project, exported, run, tmp_path, caplog):
    """The tasks of which JSON-MIN cannot tell are deleted there: nothing else changes."""
    _, tasks = exported
    kept = {}
    for task, (name, kind) in zip(tasks, KINDS.items(), strict=False):
        if kind[2]:
            kept[name] = kind
        else:
            studio.raw("DELETE", f"/api/tasks/{project[1][task['data']['image_id']]}/")
    left = [task for task, kind in zip(tasks, KINDS.values(), strict=False) if kind[2]]
    full, short = (save(studio, project[0], kind, tmp_path) for kind in ("JSON", "JSON_MIN"))
    labels, summary = judged(full, run.path)
    assert labels == expected(left, run.classes, kept)
    assert summary["disagreements"]["count"] == 0
    assert not caplog.records
    assert judged(short, run.path)[0] == labels
    assert "JSON-MIN, which holds no skipped annotations" in caplog.text


@pytest.mark.slow
def test_odd_names_and_many_classes_are_taken_there(studio, exported, run, tmp_path):
    from clusterkit.exporting.label_studio_tasks import labeling_config

    _, tasks = exported
    odd = ["<b>x</b>", 'a"b & c', "$reason", "lung/left/upper", "a, b", "ß 脳", "=1", "{{idx}}"]
    classes = [*odd, *(f"organ/{i}" for i in range(100))]
    body = {"title": "odd", "label_config": labeling_config(classes)}
    number = studio.call("POST", "/api/projects", body)["id"]
    given = []
    for task, label in zip(tasks, odd, strict=False):
        prediction = {"result": results(label), "score": 0.5, "model_version": "m"}
        given.append({"data": task["data"] | {"predicted_label": label},
                      "predictions": [prediction]})  # fmt: skip
    studio.call("POST", f"/api/projects/{number}/import", given)
    listed = studio.call("GET", f"/api/tasks?project={number}&page_size=100&fields=all")["tasks"]
    for task in listed:
        answer = task["data"]["predicted_label"]
        annotate(studio, task["id"], [("ann", answer, {})], task, classes)
    wanted = {t["data"]["image_id"]: t["data"]["predicted_label"] for t in given}
    shutil.copytree(run.path, tmp_path / "run")
    for kind in ("JSON", "JSON_MIN"):
        assert judged(save(studio, number, kind, tmp_path), tmp_path / "run")[0] == wanted
