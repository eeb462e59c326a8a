"""Names and texts that tables do not take go through fit, assign, audit, export and back."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

import clusterkit
from clusterkit import assign, fit
from clusterkit.config import DataConfig, override
from clusterkit.data.inputs import read_inputs
from clusterkit.data.manifest import read_manifest
from clusterkit.data.written_names import true_name
from clusterkit.formats.run import Run
from clusterkit.formats.run_files import read_run_manifest
from tests.dicoms import dicom, save

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names of files are text on Windows")

AWKWARD = [b"gr\xf6sse.png", b"gr%F6sse.png", b"gr\\xf6sse.png", b"return\r.png", b"line\nend.png",
           b"tab\t.png", b"\x1b[31mred.png", b"back\\slash.png", b"=1+1.png", b" blank .png",
           b"a%20b.png", b"x%C3%A4.png", "x\u0308ä.png".encode(), b"\xc3\xa4\xc3.png", b"-1.png",
           b"NA.png", b'quote".png', b"comma,;.png", "\u2028.png".encode(),
           b"hash#1.png"]  # fmt: skip


def picture(path: bytes, seed: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rng, plain = np.random.default_rng(seed), path + b".plain.png"
    pixels = rng.integers(0, 90, (48, 48, 3)) + 120 * (seed % 2)
    Image.fromarray(pixels.astype(np.uint8)).save(plain)
    os.rename(plain, path)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory, config):
    """A run and its assignments, all below a folder whose own name is no text."""
    top = os.fsencode(tmp_path_factory.mktemp("awkward")) + b"/t\xf6p\r"
    for number, name in enumerate(AWKWARD * 2):
        folder = (b"dark", b"br\xefght")[number % 2]
        if number >= len(AWKWARD):
            name = b"more-" + name
        picture(top + b"/labeled/" + folder + b"/" + name, number)
        picture(top + b"/new/" + name, 100 + number)
    top = Path(os.fsdecode(top))
    config = override(config, assign__max_error="none")
    run = fit(top / "labeled", config=config, run=top / "run")
    return top, run, assign(run, top / "new", config=config)


def test_every_name_is_written_and_read_back(awkward):
    top, run, done = awkward
    table = clusterkit.read_assignments(done.path)
    assert table["image"].tolist() == done.table["image"].tolist()
    assert {os.fsencode(true_name(image)) for image in table["image"]} == set(
        os.listdir(os.fsencode(top / "new"))
    )
    assert (table["status"] != "failed").all()
    text = done.path.read_text(encoding="utf-8-sig")
    assert text.count("\n") == len(table) + 1
    assert all(c.isprintable() for c in text.replace("\n", "").replace('"', ""))
    again = Run.load(run.path)
    assert again.classes == ["br%EFght", "dark"]
    found = [again.find_image(image) for image in read_run_manifest(run.path)["image"]]
    assert len(set(found)) == 2 * len(AWKWARD)
    assert all(path.is_file() for path in found)


@pytest.mark.slow
def test_every_name_is_found_again_by_audit_and_export(awkward, tmp_path, command):
    top, run, done = awkward
    code, _, err = command("audit", "--run", run.path, "--out", tmp_path / "audit")
    assert (code, err) == (0, "")
    for number, image in enumerate(done.table["image"]):
        if number % 8 == 0:
            code, _, err = command("audit", "--run", run.path, "--image", top / "new" /
                                   true_name(image), "--out", tmp_path / "sheet.png")  # fmt: skip
            assert (code, err) == (0, ""), image
    for to in ("folders", "label-studio", "coco"):
        code, out, err = command("export", "--run", run.path, "--to", to, "--status", "all",
                                 "--out", tmp_path / to)  # fmt: skip
        assert (code, err) == (0, ""), to
        assert f"{len(done.table)} images" in out
    files = list((tmp_path / "folders").rglob("*.png"))
    assert sorted(p.read_bytes() for p in files) == sorted(
        p.read_bytes() for p in (top / "new").iterdir()
    )


def test_the_names_of_tasks_are_those_of_the_files(awkward, tmp_path, command):
    _, run, done = awkward
    command("export", "--run", run.path, "--to", "label-studio", "--status", "all",
            "--out", tmp_path / "ls")  # fmt: skip
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text(encoding="utf-8"))
    shown = {unquote_to_bytes(t["data"]["image"].split("?d=")[1]) for t in tasks}
    assert shown == {os.fsencode(f"new/{true_name(i)}") for i in done.table["image"]}


def test_similar_and_reviews_find_their_images(awkward, tmp_path, command):
    top, run, done = awkward
    row = done.table[done.table["image"].str.contains("%F6")].iloc[0]
    query = top / "new" / true_name(row["image"])
    code, _, _ = command("similar", query, "--run", run.path, "--cams", tmp_path / "c.png")
    assert code == 0
    reviews = tmp_path / "reviews.csv"
    reviews.write_text(f"image_id,image,label,decision\n{row['image_id']},,dark,relabel\n")
    shutil.copy(done.path, tmp_path)
    assert command("review", reviews, "--run", run.path)[0] == 0


def test_what_headers_and_tables_say_is_written_too(tmp_path):
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48)).astype(np.uint8)
        dataset = dicom(pixels, f"P\r{number}", StudyDescription="chest\tAP")
        save(dataset, tmp_path / "d" / "ab"[number % 2] / f"{number}.dcm")
    tags = DataConfig(keep_tags=["PatientID", "StudyDescription"])
    manifest = read_manifest(tmp_path / "d", tags)
    assert manifest["group"].tolist() == [f"P {i}" for i in (0, 2, 1, 3)]
    assert set(manifest["StudyDescription"]) == {"chest AP"}
    rows = "".join(f'd/{"ab"[i % 2]}/{i}.dcm,"p{c}q"\n' for i, c in enumerate("\r\t\x1b%"))
    (tmp_path / "new.csv").write_text("image,group\n" + rows, newline="")
    inputs = read_inputs(tmp_path / "new.csv")
    assert inputs["group"].tolist() == ["p%0Dq", "p%1Bq", "p%09q", "p%q"]
