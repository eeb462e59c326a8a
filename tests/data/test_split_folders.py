"""Folders above the classes: those of a split, and others, stop before they become diagnoses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.config import DataConfig
from clusterkit.data.manifest import read_rows
from clusterkit.data.manifest_rows import whole_config
from clusterkit.errors import DataError


def tree(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        for i in range(2):
            path = root / name / f"{number}-{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 10 * number + i, dtype=np.uint8)).save(path)
    return root


def rows_of(root: Path, **options):
    return read_rows(root, whole_config(DataConfig(**options)))


STOPS = {
    "split": ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"),
    "spelling": ("Training/a", "Training/b", "Hold-Out/a", "Hold-Out/b"),
    "years": ("train2017/a", "train2017/b", "val2017/a"),
    "data sets": ("train_set/a", "train_set/b", "Test Set/a"),
    "beside others": ("train/a", "train/b", "test/a", "extra/a"),
    "train alone": ("train/a", "train/b"),
    "labels": ("labeled/a", "labeled/b", "unlabeled"),
    "British": ("Labelled/a", "Labelled/b", "UNLABELLED/x"),
    "flat": ("train", "test"),
    "one among classes": ("cancer", "normal", "test"),
    "sites": ("site A/benign", "site A/malignant", "site B/benign", "site B/malignant"),
    "some sites": ("s1/benign", "s1/malignant", "s2/benign", "s2/malignant", "s3/benign"),
    "one above all": ("images/a", "images/b"),
    "one above a split": ("my images/train/a", "my images/test/a"),
    "numbers": ("s1/0", "s1/1", "s2/0", "s2/1"),
}


@pytest.mark.parametrize("folders", STOPS.values(), ids=STOPS)
def test_folders_that_are_no_classes_stop_with_a_way_out(tmp_path, folders):
    root = tree(tmp_path / "data", *folders)
    with pytest.raises(DataError, match=r"\(--no-split-folders: .* the classes\)") as error:
        rows_of(root)
    assert "\n" not in str(error.value)
    # A class may really be called so.
    assert set(rows_of(root, split_folders=False)["label"]) == {f.split("/")[0] for f in folders}


GOES_ON = {
    "classes": ("cancer", "normal"),
    "patients": ("cancer/p01", "cancer/p02", "normal/p03", "normal/p04"),
    "patients of one": ("cancer/p01", "cancer/p02", "cancer/x"),
    "one beside images": ("cancer/a", "cancer/b", "cancer"),
    "patients of both": [f"{c}/p{i:02}" for c in ("lesion", "skin") for i in range(9)],
    "one inner name": ("a/images", "b/images", "c/images"),
    "words that begin so": ("testis", "trainee", "valve", "developing"),
}


@pytest.mark.parametrize("folders", GOES_ON.values(), ids=GOES_ON)
def test_classes_are_classes(tmp_path, folders):
    root = tree(tmp_path / "data", *folders)
    assert set(rows_of(root)["label"]) == {f.split("/")[0] for f in folders}


def test_the_first_folders_are_read_as_the_split(tmp_path):
    root = tree(tmp_path / "data", "Train/a", "Train/b/deep", "validation/a", "holdout/b",
                "unlabeled/a", "labelled/a", "train")  # fmt: skip
    rows = rows_of(root, split_folders=True)
    found = {(i.rsplit("/", 1)[0], s, label) for i, s, label in
             zip(rows["image"], rows["split"], rows["label"], strict=True)}  # fmt: skip
    assert found == {
        ("Train/a", "train", "a"), ("Train/b/deep", "train", "b"), ("validation/a", "valid", "a"),
        ("holdout/b", "test", "b"), ("unlabeled/a", None, None), ("labelled/a", None, "a"),
        ("train", "train", None),
    }  # fmt: skip


def test_folders_called_like_no_split_are_named(tmp_path, caplog):
    root = tree(tmp_path / "data", "train/a", "train/b", "extra/a")
    rows = rows_of(root, split_folders=True)
    assert set(rows["split"][rows["image"].str.startswith("extra")]) == {None}
    assert "1 folders are called like no split, e.g. extra" in caplog.text


@pytest.mark.parametrize(("name", "way"), [("split", "train"), ("train alone", "train"),
                                           ("labels", "labeled"), ("sites", "site A"),
                                           ("one above all", "images")])  # fmt: skip
def test_the_way_out_works(tmp_path, name, way):
    root = tree(tmp_path / "data", *STOPS[name])
    with pytest.raises(DataError, match=f"give '?{root / way}"):
        rows_of(root)
    assert len(set(rows_of(root / way)["label"])) == 2


def test_inspect_goes_on_and_says_so(tmp_path, command):
    root = tree(tmp_path / "data", *STOPS["split"])
    code, out, _ = command("inspect", root)
    assert code == 0
    assert "fit stops here" in out
    assert "classes    2: 6 a, 6 b" in out
    code, _, err = command("fit", root, "--run", tmp_path / "run")
    assert code == 1
    assert err.count("\n") == 1
    assert "--split-folders" in err
    assert not (tmp_path / "run").exists()


def test_labels_of_names_and_headers_ask_nothing(tmp_path):
    root = tree(tmp_path / "data", *STOPS["split"])
    assert set(rows_of(root, label_pattern=r"(\d)-")["label"]) == set("012345")
