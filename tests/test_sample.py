"""The demo's sample: deterministic, complete, patients apart, details where the truth says."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clusterkit.data.imageio.read import load_image
from clusterkit.demo import compare
from clusterkit.errors import DataError, ImageError
from clusterkit.sample import make_sample

SMALL = {"labeled_patients": 4, "unlabeled_patients": 2, "labeled_per_class": 2,
         "unlabeled_per_class": 3, "novel_per_patient": 2}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s") / "sample"
    make_sample(folder, seed=1, **SMALL)
    return folder


@pytest.fixture(scope="module")
def truth(root):
    return pd.read_csv(root / "truth.csv", keep_default_na=False)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_same_bytes(root, tmp_path):
    make_sample(tmp_path / "same", seed=1, **SMALL)
    make_sample(tmp_path / "other", seed=2, **SMALL)
    assert contents(tmp_path / "same") == contents(root)
    assert contents(tmp_path / "other") != contents(root)


def test_truth_names_every_file_once(root, truth):
    files = {p.relative_to(root).as_posix() for p in root.rglob("*.png")}
    assert sorted(truth["image"]) == sorted(files)
    kinds = truth["kind"].value_counts()
    assert kinds["labeled"] == 24
    assert kinds["plain"] == 18
    assert kinds["novel"] == 4
    assert kinds["unreadable"] == 1


def test_patients_are_apart(truth):
    labeled = set(truth["group"][truth["kind"] == "labeled"])
    assert not labeled & set(truth["group"][truth["kind"].isin(["plain", "novel"])])


def test_copies_and_the_broken_file(root, truth):
    for row in truth[truth["kind"] == "exact_duplicate"].itertuples():
        assert (root / row.image).read_bytes() == (root / row.of).read_bytes()
    for row in truth[truth["kind"] == "near_duplicate"].itertuples():
        assert (root / row.image).read_bytes() != (root / row.of).read_bytes()
    (broken,) = truth["image"][truth["kind"] == "unreadable"]
    with pytest.raises(ImageError, match="truncated"):
        load_image(root / broken)


def test_the_detail_is_where_the_truth_says(root, truth):
    """The darkest spot inside a cell's middle lies within the detail's radius, nearly always."""
    hits = []
    for row in truth[truth["kind"].isin(["labeled", "plain", "near_duplicate"])].itertuples():
        with Image.open(root / row.image) as image:
            red = np.asarray(image.convert("RGB"))[..., 0].astype(float)
        y, x = np.mgrid[: red.shape[0], : red.shape[1]]
        middle = np.hypot(x - red.shape[1] / 2, y - red.shape[0] / 2) < 0.3 * red.shape[0]
        place = np.where(middle, red, 255).argmin()
        distance = np.hypot(x.flat[place] - float(row.x), y.flat[place] - float(row.y))
        hits.append(distance <= float(row.radius) + 2)
    assert np.mean(hits) > 0.95


def test_other_folders_are_refused_and_other_files_kept(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="no earlier sample"):
        make_sample(tmp_path / "mine", **SMALL)
    make_sample(tmp_path / "again", seed=1, **SMALL)
    (tmp_path / "again" / "notes.txt").write_text("x")
    make_sample(tmp_path / "again", seed=1, **SMALL)
    assert (tmp_path / "again" / "notes.txt").is_file()


def test_comparison_with_the_truth():
    kinds = ["plain"] * 3 + ["novel", "unreadable", "exact_duplicate"]
    labels = ["x", "x", "y", "z", "", "x"]
    truth = pd.DataFrame({"image": list("abcdef"), "label": labels, "kind": kinds})
    table = pd.DataFrame({
        "image": list("abcdef"), "predicted_label": ["x", "y", "y", "x", "", "x"],
        "status": ["assigned", "assigned", "review", "novel", "failed", "duplicate"],
    })  # fmt: skip
    assert compare(table, truth) == {
        "images": 6, "right": 2, "wrong": 1, "refused": 2, "refused_unknown_class": 1,
        "unknown_class": 1, "failed": 1,
    }  # fmt: skip
