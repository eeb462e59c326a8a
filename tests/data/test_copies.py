"""Near duplicates in `fit` and `assign`: never on both sides, and said so in `duplicate_of`."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from clusterkit import assign, fit, read_assignments, read_manifest
from clusterkit.config import override
from clusterkit.data.labelled import load_labelled
from clusterkit.training.crossfit import held_out_folds


def picture(seed: int, size: int = 96) -> Image.Image:
    """Return a texture that no other seed has; even seeds are reddish, odd ones bluish."""
    rng = np.random.default_rng(seed)
    grey = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize((size, size), 3)
    tint = (255, 160, 160) if seed % 2 == 0 else (150, 160, 255)
    return Image.fromarray((np.asarray(grey)[..., None] / 255 * tint).astype(np.uint8))


CHANGES = {
    "rotated": lambda image: image.rotate(90),
    "smaller": lambda image: image.resize((60, 60)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
}


@pytest.fixture(scope="module")
def textures(tmp_path_factory):
    """40 labelled textures of 40 patients, three of them twice under another patient."""
    root = tmp_path_factory.mktemp("textures")
    rows = []
    for seed in range(40):
        picture(seed).save(root / f"{seed:02d}.png")
        rows.append((f"{seed:02d}.png", ["red", "blue"][seed % 2], f"p{seed:02d}"))
    for seed, (name, change) in enumerate(CHANGES.items()):
        change(picture(seed)).save(root / f"x-{name}.png")
        rows.append((f"x-{name}.png", ["red", "blue"][seed % 2], f"q{seed}"))
    write(root / "labels.csv", rows)
    (root / "new").mkdir()
    for seed in range(100, 110):
        picture(seed).save(root / "new" / f"{seed}.png")
    for seed, (name, change) in zip((10, 11, 12), CHANGES.items(), strict=True):
        change(picture(seed)).save(root / "new" / f"y-{name}.png")
    shutil.copy(root / "05.png", root / "new" / "z-same.png")
    return root


def write(path, rows, names=("image", "label", "group")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def test_near_duplicates_are_held_out_together(textures, config):
    data = load_labelled(read_manifest(textures / "labels.csv"), config, lambda *_: None)
    near = data.rows.groupby("near")["image"].agg(sorted)
    near = near[near.index >= 0].tolist()
    assert near == [["00.png", "x-rotated.png"], ["01.png", "x-smaller.png"],
                    ["02.png", "x-brighter.png"]]  # fmt: skip
    for seed in range(5):
        folds, _ = held_out_folds(data, override(config, seed=seed), "head")
        by_image = dict(zip(data.rows["image"], folds, strict=True))
        assert all(by_image[one] == by_image[other] for one, other in near)


def test_near_duplicates_with_other_labels_are_said(textures, config, tmp_path, caplog):
    table = pd.read_csv(textures / "labels.csv")
    table.loc[table["image"] == "x-rotated.png", "label"] = "blue"
    table.to_csv(textures / "wrong.csv", index=False)
    load_labelled(read_manifest(textures / "wrong.csv"), config, lambda *_: None)
    assert "1 sets of near duplicates have different labels, e.g. '00.png' (red)" in caplog.text


def test_a_copy_of_a_labelled_image_does_not_join_the_pool(textures, config, tmp_path):
    settings = override(config, data__unlabeled=str(textures / "new"))
    run = fit(textures / "labels.csv", config=settings, run=tmp_path / "run")
    # Ten new textures; three near duplicates and one copy are of patients who have labels.
    assert run.info["decisions"]["pool"] == 10


def test_assign_names_the_labelled_image(textures, config, tmp_path):
    run = fit(textures / "labels.csv", config=config, run=tmp_path / "run")
    result = assign(run, textures / "new", config=override(config, assign__max_error=0.3))
    table = read_assignments(result.path).set_index("image")
    near = ["y-rotated.png", "y-smaller.png", "y-brighter.png"]
    assert table.loc[near, "duplicate_of"].tolist() == ["10.png", "11.png", "12.png"]
    assert (table.loc[near, "status"] != "duplicate").all()
    assert table.loc[near, "reason"].str.match(r"Near duplicate \(\d\.\d\d\) of 1\d\.png").all()
    assert table["status"]["z-same.png"] == "duplicate"
    assert (table["duplicate_of"].drop([*near, "z-same.png"]) == "").all()
    assert result.summary["near_duplicates"] == 3


def test_a_copy_under_another_label_is_for_review(textures, config, tmp_path):
    """The model says red with confidence, the labelled copy is called blue: a person must look."""
    table = pd.read_csv(textures / "labels.csv")
    table.loc[table["image"] == "10.png", "label"] = "blue"
    table.to_csv(textures / "one-wrong.csv", index=False)
    settings = override(config, assign__max_error=0.45, assign__confidence=0.6)
    run = fit(textures / "one-wrong.csv", config=settings, run=tmp_path / "run")
    rows = read_assignments(assign(run, textures / "new", config=settings).path)
    rows = rows.set_index("image")
    assert (rows["status"] == "assigned").sum() >= 5
    row = rows.loc["y-rotated.png"]
    assert row["predicted_label"] == "red"
    assert row["status"] == "review"
    assert "labelled blue" in row["reason"]
    assert "one of the two is wrong" in row["reason"]
