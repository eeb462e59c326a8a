"""Statements of `assign` about novelty and label sets: they say what held-out images can tell."""

import json

import pandas as pd
import pytest
from PIL import Image, ImageOps

from clusterkit import assign, fit
from clusterkit.config import override


@pytest.fixture(scope="module")
def stained(sample, tmp_path_factory):
    """The unlabelled images in a stain that no labelled image has."""
    folder = tmp_path_factory.mktemp("stained")
    for path in sorted((sample / "unlabeled").iterdir()):
        try:
            with Image.open(path) as image:
                stain = ImageOps.invert(image.convert("RGB"))
        except OSError:
            # The sample holds damaged files.
            continue
        stain.save(folder / f"{path.stem}.png")
    return folder


@pytest.fixture(scope="module")
def settings(config):
    return override(config, engine__novelty_alpha=0.2)


@pytest.fixture(scope="module")
def few(sample, settings, tmp_path_factory):
    """A run on three labelled images of each class, each of another patient."""
    labels = pd.read_csv(sample / "labels.csv")
    labels = labels.drop_duplicates(["label", "group"]).groupby("label").head(3)
    folder = tmp_path_factory.mktemp("few")
    labels.to_csv(folder / "labels.csv", index=False)
    config = override(settings, data__images=str(sample))
    return fit(folder / "labels.csv", config=config, run=folder / "run")


def test_images_unlike_many_labelled_ones_are_novel(run, settings, stained, tmp_path):
    result = assign(run, stained, config=settings, out=tmp_path / "a.csv")
    assert (result.table["status"] == "novel").all()
    assert result.table["reason"].str.startswith("Unlike every labelled image").all()
    assert result.record.untestable_classes == []
    assert not any("too few" in remark for remark in result.record.remarks)


def test_images_unlike_few_labelled_ones_wait_for_a_person(few, settings, stained, tmp_path):
    result = assign(few, stained, config=settings, out=tmp_path / "a.csv")
    assert (result.table["status"] == "review").all()
    # Those that may be novel say why they are not called so.
    for row in result.table.itertuples():
        if "too few" in row.reason:
            label = row.predicted_label
            assert f"class '{label}' has 3 labelled images, too few to tell" in row.reason
    assert result.record.untestable_classes == few.classes
    assert any("are never called novel" in remark for remark in result.record.remarks)


def test_nothing_is_said_of_novelty_where_everything_is_assigned(few, stained, tmp_path, settings):
    config = override(settings, assign__max_error="none")
    result = assign(few, stained, config=config, out=tmp_path / "a.csv")
    assert (result.table["status"] == "assigned").all()
    assert not any("novel" in remark for remark in result.record.remarks)


@pytest.mark.parametrize(("level", "needed"), [(0.5, 1), (0.9, 9), (0.99, 99)])
def test_label_sets_say_what_they_take(run, sample, command, tmp_path, level, needed):
    out = tmp_path / "a.csv"
    code, said, err = command("assign", sample / "unlabeled.csv", "--run", run.path, "--out", out,
                              "--confidence", level)  # fmt: skip
    assert code == 0, err
    record = json.loads(out.with_suffix(".json").read_text())
    held_out, enough = run.info.metrics["held_out_images"], level < 0.99
    assert record["label_sets"] == {
        "level": level, "held_out": held_out, "needed": needed,
        "in_every_set": [] if enough else run.classes,
    }  # fmt: skip
    line = (f"note       Every label set at 99% holds all classes: {held_out} images were held "
            "out, and it takes 99.")  # fmt: skip
    assert (line in said.splitlines()) != enough
