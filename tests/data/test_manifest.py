"""Adapters and the manifest: what is read, and one clear line for whatever cannot be."""

import logging
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clusterkit import read_manifest
from clusterkit.config import DataConfig
from clusterkit.data.adapters import registered_adapters
from clusterkit.data.inputs import read_inputs
from clusterkit.data.labels import check_labels
from clusterkit.data.manifest_rows import COLUMNS
from clusterkit.errors import ConfigError, DataError


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value % 256, value // 256, 7)).save(path)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["a/1.png", "a/2.png", "b/deep/3.png", "b/4.png", "5.png"]):
        picture(tmp_path / "data" / name, number)
    return tmp_path / "data"


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_class_folders(folder):
    manifest = read_manifest(folder)
    assert list(manifest.columns) == COLUMNS
    assert manifest["image"].tolist() == ["5.png", "a/1.png", "a/2.png", "b/4.png", "b/deep/3.png"]
    assert manifest["label"].tolist() == [None, "a", "a", "b", "b"]
    assert manifest["image_id"].str.fullmatch("[0-9a-f]{16}").all()


def test_csv_keeps_text_as_it_is(folder):
    path = csv(folder / "l.csv", "\ufeffimage,label,group\na/1.png, NA ,007\na/2.png,   ,\n"
               "b/4.png,b,7\n")  # fmt: skip
    manifest = read_manifest(path).set_index("image")
    assert manifest.loc["a/1.png", "label"] == "NA"
    assert manifest.loc["a/1.png", "group"] == "007"
    assert manifest.loc["a/2.png", "label"] is None
    assert manifest.loc["a/2.png", "group"] is None


def test_tsv_with_named_columns_and_root(folder, tmp_path):
    path = csv(tmp_path / "l.tsv", "file\tdx\tpatient\na/1.png\tx\tp1\nb/4.png\ty\tp2\n")
    config = DataConfig(images=str(folder), image_column="file", label_column="dx",
                        group_column="patient")  # fmt: skip
    manifest = read_manifest(path, config)
    assert manifest[["label", "group"]].to_numpy().tolist() == [["x", "p1"], ["y", "p2"]]


def test_pets_file_names(tmp_path, caplog):
    for number, name in enumerate(["great_pyrenees_12.jpg", "Abyssinian_1.jpg", "notes.png"]):
        picture(tmp_path / name, number)
    with caplog.at_level(logging.WARNING):
        manifest = read_manifest(tmp_path, DataConfig(label_pattern=r"^(.+)_\d+.jpg$"))
    labels = dict(zip(manifest["image"], manifest["label"], strict=True))
    assert labels == {"great_pyrenees_12.jpg": "great_pyrenees", "Abyssinian_1.jpg": "Abyssinian",
                      "notes.png": None}  # fmt: skip
    assert "1 file names do not match" in caplog.text


def test_named_groups_in_file_names(tmp_path):
    picture(tmp_path / "p1_benign_1.png")
    manifest = read_manifest(
        tmp_path, DataConfig(label_pattern=r"(?P<group>[^_]+)_(?P<label>[^_]+)_")
    )
    assert manifest.loc[0, ["label", "group"]].tolist() == ["benign", "p1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na/1.png,x\n", "no column 'image'; it has file, label"),
        ("image,label\n../x.png,a\n", "'../x.png' leaves the data root"),
        ("image,label\n/etc/passwd,a\n", "'/etc/passwd' leaves the data root"),
        ("image,label\nC:\\x.png,a\n", "leaves the data root"),
        ("image,label\na/9.png,a\na/1.png,b\n", "1 labelled images cannot be read, e.g. 'a/9.png'"),
        ("image,label\na/1.png,x\na/1.png,y\n", "'a/1.png' has two labels, 'x' and 'y'"),
        ("image,label,group\na/1.png,x,p\na/1.png,x,q\n", "'a/1.png' has two groups"),
        ("image,label,split\na/1.png,x,fold3\n", "split 'fold3' is not allowed"),
        ("image,label,group,split\na/1.png,x,p,train\nb/4.png,x,p,valid\n", "'p' is in both"),
        ("image,label\n", "no rows"),
        ("", "is empty"),
        ("image,label\n,x\n", "empty or impossible image path"),
    ],
)
def test_bad_csv_is_one_clear_line(folder, text, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_manifest(csv(folder / "l.csv", text))
    assert "\n" not in str(error.value)


def test_binary_csv(folder):
    (folder / "l.csv").write_bytes(b"image,label\n\xff\xfe\x00,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_manifest(folder / "l.csv")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image in .*\.png"):
        read_manifest(tmp_path / "empty")


def test_default_source(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"neither labeled/ nor labels\.csv"):
        read_manifest()
    shutil.copytree(folder, tmp_path / "labeled")
    assert len(read_manifest()) == 5


def test_links_that_lead_out(folder, tmp_path, caplog):
    picture(tmp_path / "outside.png", 99)
    os.symlink(tmp_path / "outside.png", folder / "a" / "link.png")
    with caplog.at_level(logging.WARNING):
        assert "a/link.png" not in read_manifest(folder)["image"].tolist()
    assert "1 links lead out" in caplog.text
    with pytest.raises(DataError, match="link that leaves"):
        read_manifest(csv(folder / "l.csv", "image,label\na/link.png,x\n"))


def test_same_bytes_under_two_labels_count_as_unlabelled(folder, caplog):
    shutil.copy(folder / "a" / "1.png", folder / "b" / "copy.png")
    with caplog.at_level(logging.WARNING):
        manifest = read_manifest(folder).set_index("image")
    assert manifest.loc["a/1.png", "label"] is None
    assert manifest.loc["b/copy.png", "label"] is None
    assert "a/1.png" in caplog.text


@pytest.mark.parametrize("pattern", ["(", "no group", "(a)(b)"])
def test_bad_patterns(folder, pattern):
    with pytest.raises(ConfigError, match="label pattern"):
        read_manifest(folder, DataConfig(label_pattern=pattern))


def test_pattern_that_matches_nothing_shows_a_name(folder):
    with pytest.raises(DataError, match=r"matches none of 5 file names.*\.png"):
        read_manifest(folder, DataConfig(label_pattern="(zzz)"))


def test_labels_must_tell_classes_apart():
    rows = pd.DataFrame({"label": ["a", "a", None]})
    with pytest.raises(DataError, match="at least two classes"):
        check_labels(rows, 10)
    with pytest.raises(DataError, match="is several: an image has one label"):
        check_labels(pd.DataFrame({"label": ["a|b", "c"]}), 10)
    with pytest.raises(DataError, match="no image has a label"):
        check_labels(rows.iloc[2:], 10)
    with pytest.raises(DataError, match="max_classes = 2"):
        check_labels(pd.DataFrame({"label": list("abc")}), 2)


def test_inputs_keep_missing_files_and_each_image_once(folder):
    path = csv(folder / "u.csv", "image\nb/4.png\na/9.png\nb/4.png\n")
    assert read_inputs(path)["image"].tolist() == ["a/9.png", "b/4.png"]
    assert read_inputs(folder / "5.png")["image"].tolist() == ["5.png"]
    assert len(read_inputs(folder)) == 5


def test_unlabelled_folder_is_appended(folder, tmp_path):
    picture(tmp_path / "more" / "x.png", 300)
    manifest = read_manifest(folder, DataConfig(unlabeled=str(tmp_path / "more")))
    assert manifest.set_index("image").loc["x.png", "label"] is None


def test_own_adapter_by_entry_point(monkeypatch, tmp_path):
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(
        "own_adapter", Path(__file__).parents[2] / "examples" / "own_adapter.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Point:
        def __init__(self, name, value, load):
            self.name, self.value, self.load = name, value, load

    def broken():
        raise ImportError("no such package")

    points = [Point("jsonl", "own:X", lambda: module.JsonLinesAdapter), Point("bad", "x:Y", broken)]
    monkeypatch.setattr("clusterkit.data.adapters.entry_points", lambda group: points)
    assert registered_adapters()[0] is module.JsonLinesAdapter
    picture(tmp_path / "1.png")
    csv(tmp_path / "l.jsonl", '{"image": "1.png", "label": "x"}\n')
    assert read_manifest(tmp_path / "l.jsonl")["label"].tolist() == ["x"]
    csv(tmp_path / "l.jsonl", '{"image": "../1.png"}\n')
    with pytest.raises(DataError, match="leaves the data root"):
        read_manifest(tmp_path / "l.jsonl")


def test_array_values_do_not_matter_to_ids(folder):
    before = read_manifest(folder).set_index("image")["image_id"]
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(folder / "a" / "1.png")
    after = read_manifest(folder).set_index("image")["image_id"]
    assert before["a/1.png"] != after["a/1.png"]
    assert before["b/4.png"] == after["b/4.png"]
