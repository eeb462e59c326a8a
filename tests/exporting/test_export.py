"""`export`: what each target is given, and what is refused."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import clusterkit
from clusterkit.data.identity import image_id_of
from clusterkit.data.imageio.read import image_size, load_image
from clusterkit.errors import ConfigError, DataError, ImageError
from clusterkit.exporting import folders
from clusterkit.exporting.export import TARGETS, export
from clusterkit.exporting.label_studio_tasks import labeling_config
from clusterkit.exporting.output_folder import Names, new_folder
from clusterkit.formats.assignments import COLUMNS, write_assignments
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text
from clusterkit.formats.reviews import read_reviews

SDK_PYTHON = "CLUSTERKIT_LABEL_STUDIO_PYTHON"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_rows(run, folder: Path, rows: list[dict]) -> Path:
    """Write an assignments.csv over images that lie in `folder`/in; returns its path."""
    blank = dict.fromkeys(COLUMNS, "") | dict.fromkeys(("cluster", "order"))
    table = pd.DataFrame([blank | {"predicted_label": run.classes[0], "confidence": 0.5} | row
                          for row in rows])  # fmt: skip
    for column in ("classifier_probability", "similarity", "nearest_similarity", "novelty_p"):
        table[column] = np.nan
    path = folder / "assignments.csv"
    write_assignments(table, path)
    record = {"input_root": "in", "run": run.info["id"], "images": len(table)}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def picture(path: Path, shade: int = 9, size: tuple[int, int] = (12, 8)) -> str:
    """Write a small picture; returns its id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 50, 90)).save(path)
    return image_id_of(path.read_bytes())


@pytest.fixture
def stack(run, tmp_path) -> Path:
    """Assignments of a PNG, a turned JPEG, and two pages of a TIFF stack, one row a status."""
    folder = tmp_path / "in"
    one = picture(folder / "plain one.png")
    Image.new("RGB", (12, 8)).save(folder / "turned.jpg", exif=_turned())
    two = image_id_of((folder / "turned.jpg").read_bytes())
    pages = [Image.fromarray(np.full((6, 9), shade, np.uint8)) for shade in (10, 200, 90)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    three = image_id_of((folder / "stack.tif").read_bytes())
    return make_rows(run, tmp_path, [
        {"image": "plain one.png", "image_id": one, "status": "assigned"},
        {"image": "turned.jpg", "image_id": two, "status": "duplicate"},
        {"image": "stack.tif", "image_id": three + "#1", "status": "review", "cluster": 1,
         "group": "p", "reason": "Unsure."},
        {"image": "stack.tif", "image_id": three + "#2", "status": "novel", "cluster": 3},
    ])  # fmt: skip


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def files_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_the_command_says_what_went_where(command, run, assignment, tmp_path):
    needs = {"fiftyone": "", "xlsx": "openpyxl", "parquet": "pyarrow", "arrow": "pyarrow"}
    there = [to for to in TARGETS if to not in needs or (needs[to] and find_spec(needs[to]))]
    for to in there:
        statuses = TARGETS[to]
        code, out, _ = command("export", "--to", to, "--run", run.path, "--out", tmp_path / to,
                               "--json")  # fmt: skip
        assert code == 0
        said = json.loads(out)
        table = assignment.table
        assert said["status"] == list(statuses)
        chosen = table["status"][table["status"].isin(statuses)]
        assert said["counts"] == chosen.value_counts().to_dict()
        assert said["images"] == sum(said["counts"].values()) > 0
        assert said["left_out"] == {}
        assert (tmp_path / to / "clusterkit-export.json").is_file()
        code, out, _ = command("export", "--to", to, "--run", run.path, "--out", tmp_path / to)
        assert code == 0
        assert f"status     {','.join(statuses)}" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(there)
    assert {"coco", "folders", "label-studio"} <= set(there)


# Label Studio ------------------------------------------------------------------------------


def check_task(task: dict, classes: list[str], root: Path, model: str) -> None:
    """What Label Studio's guide on pre-annotations asks of a task."""
    assert set(task) <= {"data", "predictions"}
    address = urlsplit(task["data"]["image"])
    assert address.path == "/data/local-files/"
    (path,) = parse_qs(address.query, strict_parsing=True)["d"]
    assert (root / path).is_file()
    for prediction in task.get("predictions", []):
        assert set(prediction) <= {"model_version", "score", "result"}
        assert prediction["model_version"] == model
        assert 0 <= prediction["score"] <= 1
        (item,) = prediction["result"]
        assert (item["from_name"], item["to_name"], item["type"]) == ("label", "image", "choices")
        assert item["value"] == {"choices": [task["data"]["predicted_label"]]}
        assert task["data"]["predicted_label"] in classes


def test_label_studio_tasks_and_config(run, assignment, sample, tmp_path):
    result = export(run, "label-studio", tmp_path / "out", status="all")
    tasks = json.loads((result.path / "tasks.json").read_text())
    table = assignment.table.set_index("image")
    assert len(tasks) == len(table)
    for task in tasks:
        check_task(task, run.classes, sample.parent, run.path.name)
        row = table.loc[task["data"]["image_name"]]
        assert ("predictions" in task) == (row["status"] in ("assigned", "review", "duplicate"))
        assert task["data"]["image_id"] == row["image_id"]
        assert task["data"]["reason"] == row["reason"]
        assert task["data"].get("cluster", None) == (None if pd.isna(row["cluster"])
                                                     else row["cluster"])  # fmt: skip
    assert str(tmp_path) not in (result.path / "tasks.json").read_text()
    root = ET.fromstring((result.path / "label-studio.xml").read_text())
    names = {e.get("name") for e in root.iter() if e.get("name")}
    assert names == {"image", "label", "new_label"}
    assert {e.get("toName") for e in root.iter() if e.get("toName")} == {"image"}
    *choices, reject = root.iter("Choice")
    assert [e.get("value") for e in choices] == run.classes
    assert [e.get("hotkey") for e in choices] == ["1", "2", "3"]
    assert (reject.get("alias"), reject.get("hotkey")) == ("|reject|", "0")


def test_config_of_hostile_classes():
    classes = ["<script>alert(1)</script>", 'a"b', "a'b & c", "tab\tnew\nline", "ß 脳", "$image"]
    *choices, reject = ET.fromstring(labeling_config(classes)).iter("Choice")
    assert [e.get("alias") or e.get("value") for e in choices] == classes
    # Label Studio puts the task's data in the place of $image.
    assert not any("$" in e.get("value") for e in choices)
    # It separates labels, so no class can be called so.
    assert "|" in reject.get("alias")
    assert "|" in reject.get("value")
    with pytest.raises(DataError, match="XML cannot hold; rename"):
        labeling_config(["a\x07b"])


def test_a_hundred_classes_are_found_by_typing():
    classes = [f"lung/left/{number}" for number in range(100)]
    root = ET.fromstring(labeling_config(classes))
    (find,) = root.iter("Filter")
    (choices,) = root.iter("Choices")
    assert find.get("toName") == choices.get("name") == "label"
    reject, *others = root.iter("Choice")
    assert reject.get("alias") == "|reject|"
    assert [e.get("value") for e in others] == classes
    assert [e.get("hotkey") for e in others if e.get("hotkey")] == list("123456789")
    (box,) = [e for e in root.iter("View") if e.get("style")]
    assert choices in list(box)


def test_what_a_browser_cannot_show(command, run, stack, tmp_path):
    out = tmp_path / "out"
    options = ("export", "--to", "label-studio", "--run", run.path, "--assignments", stack)
    code, _, err = command(*options, "--out", out)
    assert code == 1
    assert "give --copy" in err
    assert not out.exists()
    code, text, _ = command(*options, "--out", out, "--status", "all", "--json")
    assert json.loads(text)["left_out"] == {"not shown by a browser, see --copy": 2}
    (task, _) = json.loads((out / "tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=in/plain%20one.png"
    code, text, _ = command(*options, "--out", out, "--status", "all", "--copy", "--json")
    assert json.loads(text)["counts"] == {"assigned": 1, "review": 1, "novel": 1, "duplicate": 1}
    tasks = json.loads((out / "tasks.json").read_text())
    for task in tasks:
        check_task(task, run.classes, out, run.path.name)
    names = [t["data"]["image_id"].replace("#", "-") + ".png" for t in tasks[2:]]
    shades = [np.asarray(Image.open(out / "images" / name))[0, 0, 0] for name in names]
    assert shades == [200, 90]


def test_where_label_studio_finds_images(command, run, stack, tmp_path):
    options = ("export", "--to", "label-studio", "--run", run.path, "--assignments", stack,
               "--out", tmp_path / "out", "--status", "assigned")  # fmt: skip
    for more, url in [
        (("--root", tmp_path.parent), f"/data/local-files/?d={tmp_path.name}/in/plain%20one.png"),
        (("--url-prefix", "https://a.example/x/"), "https://a.example/x/plain%20one.png"),
        (("--url-prefix", "s3://b/", "--root", tmp_path), "s3://b/in/plain%20one.png"),
    ]:
        assert command(*options, *more)[0] == 0
        (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text())
        assert task["data"]["image"] == url
    code, _, err = command(*options, "--root", run.path)
    assert code == 1
    assert "is not under --root" in err


def test_the_steps_name_folders_that_label_studio_serves(command, run, stack, tmp_path):
    """It refuses its own document root as a storage; each picture must be under a storage."""
    out = tmp_path / "out"
    options = ("export", "--to", "label-studio", "--run", run.path, "--assignments", stack,
               "--out", out, "--status", "assigned")  # fmt: skip
    serve = "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="
    for more, root, storage in [((), tmp_path, tmp_path / "in"),
                                (("--root", tmp_path.parent), tmp_path.parent, tmp_path / "in"),
                                (("--copy",), out, out / "images")]:  # fmt: skip
        code, text, _ = command(*options, *more)
        assert code == 0
        assert f"next       {serve}{root} label-studio start\n" in text
        assert f"choose Local Files, with the path {storage}; at the end Save, not" in text
    assert f"next       clusterkit review EXPORTED.json --run {tmp_path}, for" in text
    shutil.rmtree(out)
    for more, root in [(("--root", tmp_path / "in"), tmp_path),
                       (("--copy", "--root", out / "images"), out)]:  # fmt: skip
        code, _, err = command(*options, *more)
        assert code == 1
        assert f"lies in its document root {more[-1]} itself; give --root {root}\n" in err
        assert not out.exists()
    code, text, _ = command(*options, "--url-prefix", "https://a.example/x/")
    assert code == 0
    assert "DOCUMENT_ROOT" not in text
    assert "must send the header Access-Control-Allow-Origin" in text


def test_several_folders_in_the_document_root_are_each_named(run, sample, tmp_path):
    assert len(run.classes) == 3
    (tmp_path / "in").mkdir()
    paths = sorted(sample.glob("unlabeled/*.png"))[:4]
    for place, path in zip(("a", "b", "b", "c d"), paths, strict=True):
        (tmp_path / "in" / place).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "in" / place)
    clusterkit.assign(run, tmp_path / "in", out=tmp_path / "second day.csv", config=run.config)
    steps = export(run, "label-studio", tmp_path / "out", assignments=tmp_path / "second day.csv",
                   status="all", root=tmp_path / "in").next  # fmt: skip
    root = tmp_path / "in"
    assert f"with the path {root / 'a'} and {root / 'b'} and {root / 'c d'}; at" in steps[2]
    assert steps[-1].startswith(
        f"clusterkit review EXPORTED.json --run '{tmp_path}/second day.csv', "
    )


SDK_CHECK = """
import json, os, sys
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import TaskValue
from label_studio_sdk.converter import Converter
folder, out = sys.argv[1:]
xml = open(os.path.join(folder, "label-studio.xml"), encoding="utf-8").read()
tasks = json.load(open(os.path.join(folder, "tasks.json"), encoding="utf-8"))
config = LabelInterface(xml)
config.validate()
done = []
for number, task in enumerate(tasks, 1):
    TaskValue(**task)
    assert config.validate_task({"data": task["data"]}), task
    for prediction in task.get("predictions", []):
        errors = config.validate_prediction(prediction, return_errors=True)
        assert not errors, errors
    given = [p["result"] for p in task.get("predictions", [])]
    result = given[0] if given else [{"id": "n", "from_name": "new_label", "to_name": "image",
                                      "type": "textarea", "value": {"text": ["brand new"]}}]
    annotation = {"id": number, "result": result, "was_cancelled": False, "completed_by": 3,
                  "created_at": "2026-01-01T00:00:00.1Z", "updated_at": "2026-01-02T00:00:00.1Z",
                  "lead_time": 1.0}
    assert config.validate_annotation(annotation)
    done.append({"id": number, **task, "annotations": [annotation]})
full = os.path.join(out, "full.json")
json.dump(done, open(full, "w"))
Converter(xml, out).convert_to_json_min(full, out, is_dir=False)
print(sum("predictions" in task for task in tasks))
"""


def test_label_studio_s_own_sdk_takes_it(run, assignment, tmp_path):
    """Its validator accepts config and predictions; its converter's JSON_MIN is read back."""
    python = os.environ.get(SDK_PYTHON, sys.executable)
    found = subprocess.run([python, "-c", "import label_studio_sdk"], capture_output=True)
    if found.returncode:
        pytest.skip(
            f"label-studio-sdk is not installed; {SDK_PYTHON} may name a Python that has it"
        )
    table = assignment.table
    result = export(run, "label-studio", tmp_path / "out", status="all", copy=False)
    done = subprocess.run([python, "-c", SDK_CHECK, str(result.path), str(tmp_path)],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    predicted = table["status"].isin(["assigned", "review", "duplicate"])
    assert int(done.stdout) == predicted.sum()
    for name in ("full.json", "result.json"):
        rows = read_reviews(tmp_path / name)
        accepted = set(rows["image_id"][rows["decision"] == "accept"])
        assert accepted == set(table["image_id"][predicted])
        assert set(rows["label"][rows["decision"] == "relabel"]) == {"brand new"}
        assert set(rows["reviewer"]) == {"label-studio:3"}


# Class folders --------------------------------------------------------------------------------


def test_folders_are_links_by_class(run, assignment, sample, tmp_path):
    result = export(run, "folders", tmp_path / "deep" / "out")
    table = assignment.table
    index = pd.read_csv(result.path / "index.csv", keep_default_na=False)
    wanted = table[table["status"].isin(["assigned", "duplicate"])]
    assert index["image"].tolist() == wanted["image"].tolist()
    for row in index.itertuples():
        path = result.path / row.file
        assert path.is_symlink()
        assert not os.path.isabs(os.readlink(path))
        assert path.read_bytes() == (sample / row.image).read_bytes()
        assert path.parent.name == row.label
    assert files_in(result.path) == {*index["file"], "index.csv", "clusterkit-export.json"}
    everything = export(run, "folders", tmp_path / "all", status="all", copy=True)
    names = files_in(everything.path)
    assert sum(name.startswith("_review/") for name in names) == everything.counts["review"]
    # What cannot be read cannot be copied: its bytes may say whom it is about.
    assert not any(name.startswith("_failed/") for name in names)
    assert everything.left_out == {"image unreadable": 1}
    assert not any(p.is_symlink() for p in everything.path.rglob("*"))


def test_a_copy_is_the_picture_and_no_more(run, tmp_path):
    """What a file says beside its pixels may be a name: none of it goes along."""
    name, folder, identities = b"DOE^JANE", tmp_path / "in", {}
    folder.mkdir()
    picture, text, exif = Image.new("RGB", (12, 8), (9, 8, 7)), PngInfo(), Image.Exif()
    text.add_text("Title", name.decode())
    exif[0x010E] = name.decode()
    picture.save(folder / "a.png", pnginfo=text, icc_profile=b"profile of " + name)
    picture.save(folder / "b.jpg", comment=name, exif=exif, icc_profile=b"profile of " + name)
    picture.save(folder / "c.tif", description=name.decode())
    picture.save(folder / "a.gif", comment=name)
    for path in folder.iterdir():
        assert name in path.read_bytes()
        identities[path.name] = image_id_of(path.read_bytes())
    rows = [{"image": image, "image_id": identity, "status": "assigned"}
            for image, identity in sorted(identities.items())]  # fmt: skip
    table = make_rows(run, tmp_path, rows)
    for to in ("folders", "coco", "label-studio"):
        result = export(run, to, tmp_path / to, assignments=table, status="all", copy=True)
        assert sum(result.counts.values()) == 4
        assert not any(name in p.read_bytes() for p in result.path.rglob("*") if p.is_file())
    copies = files_in(tmp_path / "folders")
    assert sum(copy.endswith(".png") for copy in copies) == len(copies) - 2 == 4


def test_frames_become_pictures(run, stack, tmp_path):
    result = export(run, "folders", tmp_path / "out", assignments=stack, status="all")
    label = run.classes[0]
    assert files_in(result.path) == {
        f"{label}/plain one.png", f"{label}/turned.jpg", "_review/stack-1.png",
        "_novel/cluster-003/stack-2.png", "index.csv", "clusterkit-export.json",
    }  # fmt: skip
    picture = Image.open(result.path / "_review" / "stack-1.png")
    assert (picture.size, picture.getpixel((0, 0))) == ((9, 6), (200, 200, 200))


def test_hostile_classes_and_files(run, tmp_path, monkeypatch):
    """Whatever classes and files are called, all stay inside and apart."""
    classes = ["../x", "x", "X", "a/b", "a_b", "CON", "con", "", "nul.txt", "n" * 400, "n" * 401,
               "line\nbreak", "_review", "index.csv", ".", "..", "...", " ", "=1+1", "tail. ",
               "e\u0301", "\u00e9", "\u202egnp", "C:\\w"]  # fmt: skip
    monkeypatch.setattr(run, "info", replace(run.info, classes=classes))
    files = ["a/one.png", "b/one.png", "c/ONE.PNG", "d/-rf", "e/=cmd.png", "f/con.png"]
    rows = []
    for i, label in enumerate(classes):
        for j, name in enumerate(files):
            file = f"{i}/{name}"
            (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / file).write_bytes(b"%d %d" % (i, j))
            rows.append({"image": file, "image_id": image_id_of(b"%d %d" % (i, j)),
                         "status": "assigned", "predicted_label": label})  # fmt: skip
    out = tmp_path / "out"
    export(run, "folders", out, assignments=make_rows(run, tmp_path, rows))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "assignments.csv", "assignments.json", "in", "out",
    ]  # fmt: skip
    folders = [p.name for p in out.iterdir() if p.is_dir()]
    assert len(folders) == len({f.casefold() for f in folders}) == len(classes)
    assert len(files_in(out)) == len(rows) + 2
    assert (out / "index.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    with (out / "index.csv").open(newline="", encoding="utf-8-sig") as file:
        index = list(csv.DictReader(file))
    assert [r["label"] for r in index] == [safe_csv_text(r["predicted_label"]) for r in rows]
    for row, entry in zip(rows, index, strict=True):
        assert (out / restore_csv_text(entry["file"])).read_bytes() == (
            tmp_path / "in" / row["image"]
        ).read_bytes()
    # A line for a person, however many there are; the index has all.
    line, unread = export(run, "folders", out, assignments=tmp_path / "assignments.csv").next
    assert len(line) < 400
    assert line.startswith("folders that are not called as their class: '")
    assert "ImageFolder leaves out" in unread
    assert f"({len(classes)} without an ending)" in unread
    assert "more; index.csv has the label of each file" in line


@given(st.lists(st.text(max_size=300), max_size=30))
def test_names_are_safe_and_apart(wanted):
    names = Names("_review")
    chosen = [names.choose(w) for w in wanted]
    assert len({c.casefold() for c in chosen} | {"_review"}) == len(chosen) + 1
    for name in chosen:
        assert 0 < len(name.encode()) <= 130
        assert name.isprintable()
        assert not set(name) & set('<>:"/\\|?*')
        assert name[0] not in ". "
        assert name[-1] not in ". "
        assert name.split(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT9")


# COCO -----------------------------------------------------------------------------------------


def no_nan(name: str) -> None:
    raise AssertionError(name)


def test_coco(run, assignment, sample, tmp_path):
    result = export(run, "coco", tmp_path / "out", status="assigned,duplicate,review,novel")
    content = json.loads((result.path / "coco.json").read_text(), parse_constant=no_nan)
    assert list(content) == ["info", "licenses", "images", "categories", "annotations"]
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert list(names.values()) == run.classes
    images = {i["id"]: i for i in content["images"]}
    table = assignment.table.set_index("image")
    for image in images.values():
        with Image.open(sample / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
        assert image["clusterkit_id"] == table.loc[image["file_name"], "image_id"]
    annotated = {images[a["image_id"]]["file_name"]: a for a in content["annotations"]}
    rows = table[table["status"].isin(["assigned", "duplicate", "review"])]
    assert set(annotated) == set(rows.index)
    for file, found in annotated.items():
        assert names[found["category_id"]] == rows.loc[file, "predicted_label"]
        assert found["score"] == pytest.approx(rows.loc[file, "confidence"], abs=1e-6)
        assert found["attributes"]["status"] == rows.loc[file, "status"]
    again = export(run, "coco", tmp_path / "again", status="assigned,duplicate,review,novel")
    assert (again.path / "coco.json").read_bytes() == (result.path / "coco.json").read_bytes()


def test_coco_sizes_are_those_of_the_pictures_read(run, stack, tmp_path):
    result = export(run, "coco", tmp_path / "out", assignments=stack, status="all")
    content = json.loads((result.path / "coco.json").read_text())
    assert [(i["width"], i["height"], i.get("frame")) for i in content["images"]] == [
        (12, 8, None), (8, 12, None), (9, 6, 1), (9, 6, 2),
    ]  # fmt: skip
    Image.new("RGB", (7, 3)).save(tmp_path / "in" / "turned.png", exif=_turned())
    assert image_size(tmp_path / "in" / "turned.png") == (3, 7)
    for name in ("plain one.png", "turned.jpg", "turned.png", "stack.tif"):
        path = tmp_path / "in" / name
        assert image_size(path) == load_image(path).size
    copied = export(run, "coco", tmp_path / "copied", assignments=stack, status="all", copy=True)
    for image in json.loads((copied.path / "coco.json").read_text())["images"]:
        with Image.open(copied.path / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])


def test_dicom_sizes_and_pictures(run, tmp_path):
    pytest.importorskip("pydicom")
    from tests.dicoms import dicom, save

    path = save(dicom(np.arange(2 * 7 * 5, dtype=np.uint8).reshape(2, 7, 5)), tmp_path / "in/a.dcm")
    identity = image_id_of(path.read_bytes())
    csv_path = make_rows(run, tmp_path, [{"image": "a.dcm", "image_id": f"{identity}#1",
                                          "status": "review"}])  # fmt: skip
    coco = export(run, "coco", tmp_path / "c", assignments=csv_path, status="review")
    (image,) = json.loads((coco.path / "coco.json").read_text())["images"]
    assert (image["width"], image["height"], image["frame"]) == (5, 7, 1)
    tasks = export(run, "label-studio", tmp_path / "l", assignments=csv_path, copy=True)
    (written,) = (tasks.path / "images").iterdir()
    seen = np.asarray(load_image(path, how=run.config.image, frame=1))
    assert np.array_equal(np.asarray(Image.open(written)), seen)


# Bad input ------------------------------------------------------------------------------------


def edited(stack: Path, **cells) -> None:
    table = pd.read_csv(stack, dtype=str, keep_default_na=False)
    for column, value in cells.items():
        table.loc[0, column] = value
    table.to_csv(stack, index=False)


@pytest.mark.parametrize("to", ["label-studio", "folders", "coco"])
@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"predicted_label": "rinq"}, "label 'rinq' is no class of the run"),
        ({"predicted_label": ""}, "label '' is no class"),
        ({"status": "asigned"}, "status 'asigned' (did you mean 'assigned'?)"),
        ({"confidence": "7"}, "confidence '7' is no number"),
        ({"image": "../../secret.png"}, "leaves the data root"),
        ({"image": "/etc/passwd"}, "leaves the data root"),
        ({"image_id": ""}, "no image_id"),
    ],
)
def test_edited_assignments(command, run, stack, tmp_path, to, cells, message):
    edited(stack, **cells)
    code, out, err = command("export", "--to", to, "--run", run.path, "--assignments", stack,
                             "--out", tmp_path / "out", "--status", "all", "-q")  # fmt: skip
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_columns_and_rows_that_are_gone_or_double(run, stack, tmp_path, caplog):
    whole = pd.read_csv(stack, dtype=str, keep_default_na=False)
    whole.drop(columns="image_id").to_csv(stack, index=False)
    with pytest.raises(DataError, match="no column 'image_id'"):
        export(run, "coco", tmp_path / "out", assignments=stack)
    pd.concat([whole, whole.head(1)]).to_csv(stack, index=False)
    with pytest.raises(DataError, match="is in rows 1 and 5; keep one"):
        export(run, "coco", tmp_path / "out", assignments=stack)
    whole.iloc[:2].to_csv(stack, index=False)
    assert export(run, "coco", tmp_path / "out", assignments=stack).counts == {
        "assigned": 1, "duplicate": 1,
    }  # fmt: skip
    assert "rows were removed" in caplog.text
    with pytest.raises(DataError, match="no row with status novel; it has 1 assigned, 1 dup"):
        export(run, "coco", tmp_path / "out", assignments=stack, status="novel")


def test_images_that_moved(command, run, stack, tmp_path, caplog):
    (tmp_path / "in" / "plain one.png").unlink()
    for to in ("label-studio", "folders", "coco"):
        result = export(run, to, tmp_path / to, assignments=stack, status="assigned,duplicate")
        assert result.left_out == {"image missing": 1}
        assert result.counts == {"duplicate": 1}
    assert "1 of 2 images are not under" in caplog.text
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    code, _, err = command("export", "--to", "coco", "--run", run.path, "--assignments", stack,
                           "--out", tmp_path / "none")  # fmt: skip
    assert code == 1
    assert "put the data back" in err
    assert not (tmp_path / "none").exists()


def test_a_source_that_cannot_be_copied_is_counted(run, stack, tmp_path, monkeypatch):
    write = folders.write_png

    def refuse(source, *how):
        if source.endswith("turned.jpg"):
            raise ImageError("permission denied")
        write(source, *how)

    monkeypatch.setattr(folders, "write_png", refuse)
    result = export(run, "folders", tmp_path / "out", assignments=stack, copy=True)
    assert (result.counts, result.left_out) == ({"assigned": 1}, {"image unreadable": 1})


def test_another_run_s_assignments_are_refused(run, stack, tmp_path):
    stack.with_suffix(".json").write_text('{"input_root": "in", "run": "another"}')
    with pytest.raises(DataError, match="'another'"):
        export(run, "coco", tmp_path / "out", assignments=stack)
    assert not (tmp_path / "out").exists()


def test_others_files_are_left_alone(run, stack, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and was not written by"):
        export(run, "folders", out, assignments=stack)
    (out / "mine.txt").unlink()
    export(run, "folders", out, assignments=stack)
    before = files_in(out)
    export(run, "folders", out, assignments=stack, status="assigned")
    assert files_in(out) < before
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"did not write, e\.g\. 'mine\.txt'"):
        export(run, "coco", out, assignments=stack)
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(DataError, match="is no folder"):
        export(run, "coco", stack, assignments=stack)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "assignments.csv", "assignments.json", "in", "out",
    ]  # fmt: skip


def test_an_interrupted_export_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    with new_folder(out, {}) as folder:
        (folder / "a").write_text("old")

    def interrupted():
        with new_folder(out, {}) as folder:
            (folder / "a").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (out / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_wrong_usage(command, run, assignment, tmp_path):
    assert command("export", "--run", run.path)[0] == 2
    assert command("export", "--to", "word", "--run", run.path)[0] == 2
    for options, message in [
        (("--to", "coco", "--status", "asigned"), "did you mean 'assigned'"),
        (("--to", "coco", "--root", "x"), "--root is for label-studio only"),
        (("--to", "folders", "--name", "x"), "--name is for fiftyone only"),
    ]:
        code, _, err = command("export", *options, "--run", run.path, "--out", tmp_path / "x")
        assert code == 1
        assert message in err
    with pytest.raises(ConfigError, match="did you mean 'coco'"):
        export(run, "cocoo")
    assert not list(tmp_path.iterdir())


def test_images_that_have_changed_are_not_handed_on(run, stack, tmp_path, command):
    """A label must not be handed on with another picture."""
    Image.new("RGB", (12, 8), "red").save(tmp_path / "in" / "turned.jpg")
    for target in ("folders", "coco"):
        code, _, err = command("export", "--to", target, "--run", run.path, "--assignments",
                                 stack, "--out", tmp_path / target)  # fmt: skip
        assert code == 0, err
        assert "1 of 2 images have changed" in err
        assert "turned" not in "".join(str(p) for p in files_in(tmp_path / target))
    assert "turned" not in (tmp_path / "coco" / "coco.json").read_text()


def test_what_a_killed_export_left_is_removed(run, stack, tmp_path):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                             capture_output=True, text=True, check=True)  # fmt: skip
    left = tmp_path / f".out.partial-{int(process.stdout)}"
    alive = tmp_path / f".out.partial-{os.getppid()}"
    for folder in (left, alive):
        folder.mkdir()
        (folder / "patient.png").write_bytes(b"x")
    export(run, "coco", tmp_path / "out", assignments=stack)
    assert not left.exists()
    assert alive.exists()
