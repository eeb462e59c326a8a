"""fastai training: pairs, both strategies' shapes, given splits, one-image classes."""

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from clusterkit import Run, assign, fit
from clusterkit.config import override
from clusterkit.engine.calibrate import HeldOut, calibrate, clearly_likelier
from clusterkit.errors import DataError


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_finetuning(sample, config, tmp_path, encoder):
    tuned = override(config, train__strategy="finetune", train__epochs=1, train__folds=1,
                     train__siamese_epochs=1, model__encoder=encoder,
                     augment__flip_horizontal=True)  # fmt: skip
    run = fit(sample / "labels.csv", config=tuned, run=tmp_path / "run")
    assert run.info["encoder"] == encoder
    assert set(run.manifest["split"]) == {"train", "valid"}
    sides = run.manifest.groupby("group")["split"].nunique()
    assert (sides == 1).all()
    assert {"classifier", "siamese"} == set(run.history["stage"])
    loaded = Run.load(run.path)
    result = assign(loaded, sample / "unlabeled.csv", config=tuned)
    assert len(result.table) == len(pd.read_csv(sample / "unlabeled.csv"))


def test_fine_tuning_that_does_not_help_is_not_kept(sample, config, tmp_path, caplog):
    """With a rate of almost nothing a new head stays a guess: heads on frozen features win."""
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    asked = override(config, model__weights=str(weights), train__strategy="finetune",
                     train__epochs=1, train__lr=1e-8)  # fmt: skip
    run = fit(sample / "labels.csv", config=asked, run=tmp_path / "run")
    assert run.info["strategy"] == "head"
    assert "fine-tuning was tried" in run.info["strategy_reason"]
    assert "heads on frozen features are used" in caplog.text
    assert run.info["classifier_head"] == "linear"
    assert len(assign(Run.load(run.path), sample / "unlabeled.csv", config=asked).table)


def test_fine_tuning_is_kept_where_it_clearly_helps():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)

    def calibration(strength: float, n: int):
        logits = strength * np.eye(2)[labels[:n]] + rng.normal(size=(n, 2))
        rows, vote = np.arange(n), np.full((n, 2), np.nan)
        held_out = HeldOut(rows, logits, logits, vote, np.zeros((n, 2)), labels[:n], rows, rows % 5)
        return calibrate(held_out, np.full(2, 0.5), 1.0, 2)

    assert clearly_likelier(calibration(4.0, 60), calibration(1.0, 60))
    assert not clearly_likelier(calibration(1.0, 60), calibration(4.0, 60))
    assert not clearly_likelier(calibration(4.0, 8), calibration(1.0, 8))


def test_progress_and_auto_strategy(sample, config, tmp_path):
    seen = []
    chosen = override(config, train__strategy="auto", train__epochs=1, train__siamese_epochs=1)
    run = fit(sample / "labels.csv", config=chosen, run=tmp_path / "run",
              progress=lambda *step: seen.append(step))  # fmt: skip
    assert run.info["strategy"] == "finetune"
    assert "random weights" in run.info["strategy_reason"]
    assert seen[-1][1] == seen[-1][2]


def test_a_class_with_one_image_trains_and_is_never_held_out(sample, config, tmp_path, caplog):
    rows = pd.read_csv(sample / "labels.csv")
    rows.loc[0, "label"] = "lonely"
    rows["image"] = rows["image"].map(str)
    (tmp_path / "l.csv").write_text(rows.to_csv(index=False))
    run = fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
              run=tmp_path / "run")  # fmt: skip
    assert "lonely" in run.classes
    assert "1 classes have one labelled image" in caplog.text
    assert run.classes.index("lonely") not in run.calibration["held_out"]["labels"]


def test_nothing_can_be_held_out(sample, config, tmp_path):
    rows = pd.read_csv(sample / "labels.csv").assign(group="one patient")
    (tmp_path / "l.csv").write_text(rows.to_csv(index=False))
    with pytest.raises(DataError, match="one group"):
        fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
            run=tmp_path / "run")  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_labels_on_real_cells(real_data, tmp_path):
    """bccd, 20 labels a class: not two points below scikit-learn on the same weights."""
    from benchmarks.protocol import SETS, draw
    from clusterkit import read_manifest
    from clusterkit.config import config_from_dict

    source, size = SETS["bccd"]
    labelled, rest = draw(read_manifest(real_data / "bccd" / source), 20, 0)
    labelled[["image", "label", "group"]].to_csv(tmp_path / "l.csv", index=False)
    rest[["image", "group"]].to_csv(tmp_path / "u.csv", index=False)
    weights = real_data / "weights" / "squeezenet1_0_imagenet.pth"
    settings = config_from_dict({
        "data": {"images": str(real_data / "bccd")}, "image": {"size": size},
        "model": {"backbone": "squeezenet1_0", "weights": str(weights)},
    })  # fmt: skip
    run = fit(tmp_path / "l.csv", config=settings, run=tmp_path / "run")
    table = assign(run, tmp_path / "u.csv", config=settings).table.set_index("image")
    truth = rest.set_index("image")["label"].loc[table.index]
    assert (table["predicted_label"] == truth).mean() >= 0.96
