"""The whole path on features in the place of pixels, from embed to fitting again on reviews."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from clusterkit import (
    ClusterkitError,
    SimilarityFinder,
    assign,
    audit,
    embed,
    evidence,
    export,
    fit,
    read_assignments,
    review,
    similar,
    similar_groups,
)
from clusterkit.config import override
from clusterkit.data.features.table import read_features
from clusterkit.formats.run import Run
from tests.pages import data_of

# What rests on pixels alone, or on the last digit of a confidence.
_ROUNDED = ["order", "reason"]


@pytest.fixture(scope="module")
def settings(config):
    return override(config, model__precision="float32")


@pytest.fixture(scope="module")
def files(sample, settings, tmp_path_factory):
    """Features of the labelled images with mirror images, and of the others."""
    folder = tmp_path_factory.mktemp("features")
    embed(sample / "labels.csv", folder / "l.npz", config=settings, views=True)
    embed(sample / "unlabeled.csv", folder / "u.h5", config=settings)
    return folder / "l.npz", folder / "u.h5"


@pytest.fixture(scope="module")
def given(sample, settings, files, tmp_path_factory):
    """A run on features, with its assignments."""
    path = tmp_path_factory.mktemp("given") / "run"
    run = fit(sample / "labels.csv", config=settings, run=path, features=files[0])
    assign(run, sample / "unlabeled.csv", config=settings, features=files[1])
    return run


@pytest.fixture(scope="module")
def bare(sample, settings, files, tmp_path_factory):
    """The same with tables alone: no image is there."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copy(sample / "labels.csv", folder / "labels.csv")
    # One image cannot be read, and so has no features either.
    table, embedded = pd.read_csv(sample / "unlabeled.csv"), read_features(files[1]).images
    table[table["image"].isin(embedded)].to_csv(folder / "unlabeled.csv", index=False)
    run = fit(folder / "labels.csv", config=settings, run=folder / "run", features=[files[0]])
    assign(run, folder / "unlabeled.csv", config=settings, features=[files[1]])
    return folder


def same_labels(first: pd.DataFrame, second: pd.DataFrame) -> None:
    for column in first.columns.difference(_ROUNDED):
        if first[column].dtype.kind == "f":
            np.testing.assert_allclose(first[column], second[column], atol=1e-4, err_msg=column)
        else:
            assert first[column].tolist() == second[column].tolist(), column


@pytest.mark.parametrize("views", ["auto", pytest.param("allowed", marks=pytest.mark.long)])
def test_the_same_labels_as_from_pixels(views, sample, settings, files, given, tmp_path):
    """With ``auto`` by the mirror images that embed stored, with ``allowed`` without any."""
    own = override(settings, augment__views=views)
    pixels = fit(sample / "labels.csv", config=own, run=tmp_path / "pixels")
    found = assign(pixels, sample / "unlabeled.csv", config=own).table
    if views == "allowed":
        embed(sample / "labels.csv", tmp_path / "l.parquet", config=own)
        given = fit(sample / "labels.csv", config=own, run=tmp_path / "run",
                    features=tmp_path / "l.parquet")  # fmt: skip
        other = assign(given, sample / "unlabeled.csv", features=files[1]).table
    else:
        other = read_assignments(given.path / "assignments.csv")
    assert pixels.info.decisions.views == given.info.decisions.views
    assert pixels.info.metrics["accuracy"] == given.info.metrics["accuracy"]
    same_labels(read_assignments(pixels.path / "assignments.csv"), other)
    assert len(found) == len(other)


def test_what_a_run_keeps(given, files):
    import hashlib

    info = json.loads((given.path / "run.json").read_text())
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert info["backbone"] == "features"
    assert info["features"]["files"] == [{"name": "l.npz", "sha256": digest}]
    assert info["features"]["dimension"] == 2 * sum(info["features"]["depths"])
    assert info["features"]["encoder"]["backbone"] == "squeezenet1_1"
    loaded = Run.load(given.path)
    assert loaded.info.features == given.info.features
    record = json.loads((given.path / "assignments.json").read_text())
    assert record["features"]["files"][0]["name"] == "u.h5"


def test_images_may_be_gone(bare, given):
    """Labels are the same; what rests on pixels is not known, and that is said."""
    table = read_assignments(bare / "run" / "assignments.csv")
    other = read_assignments(given.path / "assignments.csv")
    other = other[other["status"] != "failed"]
    for column in ("image", "image_id", "predicted_label", "nearest_image", "label_set"):
        assert table[column].tolist() == other[column].tolist(), column
    info = json.loads((bare / "run" / "run.json").read_text())
    assert info["data"]["without_pictures"] == info["data"]["images"]
    said = " ".join(json.loads((bare / "run" / "assignments.json").read_text())["remarks"])
    assert f"{len(table)} of {len(table)} images are not there" in said
    assert "novelty is told by features alone" in said


def test_one_image_gone(sample, settings, files, given, tmp_path):
    """It is compared by its features; all others as if it were there."""
    shutil.copytree(sample, tmp_path / "data")
    other = read_assignments(given.path / "assignments.csv")
    (tmp_path / "data" / other["image"][3]).unlink()
    (tmp_path / "data" / other["image"][4]).write_bytes(b"no image")
    table = assign(given, tmp_path / "data" / "unlabeled.csv", out=tmp_path / "a.csv",
                   features=files[1]).table  # fmt: skip
    assert table["status"][4] == "failed"
    assert "other bytes" in table["reason"][4]
    # Shares of the classes and neighbours, and with them labels and confidences, are those of
    # another batch.
    seen = ["image", "image_id", "classifier_label", "classifier_probability", "gate",
            "nearest_image", "nearest_similarity"]  # fmt: skip
    same_labels(table[seen].drop(4).round(6), other[seen].drop(4))


def test_the_page_says_why_there_are_no_cams(bare, given, tmp_path):
    for path, there in ((bare / "run", False), (given.path, True)):
        page = audit(path, out=tmp_path / str(there))
        text = page.read_text()
        assert "has no encoder: there are no CAMs" in text
        cards = data_of(page)["cards"]
        assert all(bool(card["thumb"]) == there for card in cards if card["status"] != "failed")
        assert not any(card["classifier_cam"] for card in cards)
        assert all(m["cam"] is None for card in cards for m in card["matches"])
        assert {bool(m["thumb"]) for card in cards for m in card["matches"]} == {there}


def test_the_page_with_features(given, files, tmp_path):
    """They tell further matches, and put the batch on the map."""
    page = audit(given, out=tmp_path / "page", features=files[1])
    assert max(len(card["matches"]) for card in data_of(page)["cards"]) == 3
    with pytest.raises(ClusterkitError, match=r"assign read u\.h5"):
        audit(given, out=tmp_path / "other", features=files[0])


def test_the_sheet(given, command, tmp_path):
    name = read_assignments(given.path / "assignments.csv")["image"][0]
    code, out, error = command("audit", "--run", given.path, "--image", name, "--out",
                               tmp_path / "sheet.png")  # fmt: skip
    assert (code, error) == (0, ""), out
    pictures = evidence(given, read_assignments(given.path / "assignments.csv").head(2))
    assert pictures["thumb"].notna().all()
    assert pictures["cam"].isna().all()


def test_similar(given, sample, files, bare):
    name = read_assignments(given.path / "assignments.csv")["image"][0]
    by_file = similar(given, sample / name, features=files[1], k=3)
    by_name = similar(bare / "run", name, features=files[1], k=3)
    pd.testing.assert_frame_equal(by_file, by_name)
    finder = SimilarityFinder(given, features=files[1])
    assert finder.predict(sample / name, compare_n=None).is_file()
    with pytest.raises(ClusterkitError, match="no CAMs"):
        finder.similar_cams()


def test_similar_patients(given, sample, files):
    group = given.manifest["group"].iloc[0]
    assert len(similar_groups(given, group).table)
    table = pd.read_csv(sample / "unlabeled.csv")
    folder = (sample / table["image"][0]).parent
    assert len(similar_groups(given, folder, features=files[1]).table)


@pytest.mark.parametrize("with_cams", [True, False])
def test_similar_needs_the_vector(with_cams, given, sample, files, command, tmp_path):
    name = sample / read_assignments(given.path / "assignments.csv")["image"][0]
    more = ["--cams", tmp_path / "a.png", "--features", files[1]] if with_cams else []
    code, _, error = command("similar", name, "--run", given.path, *more)
    assert code == 1
    assert ("no CAMs" if with_cams else "with --features FILE") in error
    assert not (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_review_and_fit_again(bare, files, settings, tmp_path):
    """Without any image: ids are the features', and reviewed images are found among these."""
    table = read_assignments(bare / "run" / "assignments.csv")
    rows = table[table["status"] != "duplicate"].head(4)
    labels = ["ring", "rod", "ring", "rod"]
    reviews = rows[["image_id", "image"]].assign(label=labels, decision="relabel", reviewer="r",
                                                 time="", note="")  # fmt: skip
    reviews.to_csv(bare / "run" / "reviews.csv", index=False)
    assert review(bare / "run" / "reviews.csv")["images"] == 4
    with pytest.raises(ClusterkitError, match=r"it has no features in l\.npz"):
        fit(bare / "labels.csv", config=settings, run=tmp_path / "no", features=files[0],
            reviews=[bare / "run" / "reviews.csv"])  # fmt: skip
    assert not (tmp_path / "no").exists()
    again = fit(bare / "labels.csv", config=settings, run=tmp_path / "again", features=files,
                reviews=[bare / "run" / "reviews.csv"])  # fmt: skip
    assert (again.manifest["provenance"] == "reviewed").sum() == 4
    found = assign(again, bare / "unlabeled.csv", features=files[1]).table
    assert set(found["status"][found["image_id"].isin(rows["image_id"])]) == {"duplicate"}


def test_export(given, tmp_path):
    export(given, "folders", tmp_path / "f")
    export(given, "label-studio", tmp_path / "l")


class TestRefused:
    def test_assign_without_features(self, given, sample, command):
        code, _, error = command("assign", sample / "unlabeled.csv", "--run", given.path)
        assert code == 1
        assert "was fitted on features (l.npz" in error
        assert "with --features FILE" in error
        assert error.count("\n") == 1

    def test_features_for_a_run_with_an_encoder(self, run, sample, files, command):
        code, _, error = command("assign", sample / "unlabeled.csv", "--run", run.path,
                                 "--features", files[1])  # fmt: skip
        assert code == 1
        assert "leave out --features" in error

    def test_another_dimension(self, given, sample, tmp_path):
        names = np.array(pd.read_csv(sample / "unlabeled.csv")["image"])
        np.savez(tmp_path / "a.npz", image=names.astype(str), features=np.ones((len(names), 3)))
        with pytest.raises(ClusterkitError, match="has 3 numbers an image, and the run"):
            assign(given, sample / "unlabeled.csv", features=tmp_path / "a.npz",
                   out=tmp_path / "a.csv")  # fmt: skip
        assert not (tmp_path / "a.csv").exists()

    def test_another_encoder(self, given, sample, settings, tmp_path):
        """Of the same name and size, with other weights."""
        embed(sample / "unlabeled.csv", tmp_path / "a.npz", config=override(settings, seed=1))
        with pytest.raises(ClusterkitError, match="features of tensors"):
            assign(given, sample / "unlabeled.csv", features=tmp_path / "a.npz")

    def test_missing_images(self, given, sample, files, settings, tmp_path):
        with pytest.raises(ClusterkitError, match=r"images have no features in l\.npz, e\.g\. '"):
            assign(given, sample / "unlabeled.csv", features=files[0])
        with pytest.raises(ClusterkitError, match=r"have no features in u\.h5"):
            fit(sample / "labels.csv", config=settings, run=tmp_path / "r", features=files[1])
        assert not (tmp_path / "r").exists()

    def test_changed_images(self, sample, settings, files, tmp_path):
        shutil.copytree(sample, tmp_path / "data")
        image = tmp_path / "data" / pd.read_csv(sample / "labels.csv")["image"][0]
        image.write_bytes(image.read_bytes() + b"\0")
        with pytest.raises(ClusterkitError, match="has other bytes"):
            fit(tmp_path / "data" / "labels.csv", config=settings, run=tmp_path / "r",
                features=files[0])  # fmt: skip

    def test_finetuning(self, sample, settings, files, tmp_path):
        with pytest.raises(ClusterkitError, match="needs an encoder to train"):
            fit(sample / "labels.csv", config=override(settings, train__strategy="finetune"),
                run=tmp_path / "r", features=files[0])  # fmt: skip

    def test_a_backbone_beside_features(self, sample, files, command):
        code, _, error = command("fit", sample / "labels.csv", "--features", files[0],
                                 "--backbone", "resnet18")  # fmt: skip
        assert code == 2
        assert "leave out --backbone" in error


@pytest.mark.parametrize(
    "damage", [{"dimension": 0}, {"dimension": 10**9}, {"dimension": "x"}, {"files": [1]}, {}]
)
def test_a_damaged_record_is_one_line(given, damage, tmp_path):
    shutil.copytree(given.path, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["features"] = info["features"] | damage if damage else {}
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    with pytest.raises(ClusterkitError, match="is damaged"):
        Run.load(tmp_path / "run")
