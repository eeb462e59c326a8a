"""Fine-tuning with a shared and with a separate encoder."""

import numpy as np
import pandas as pd
import pytest
import torch

from clusterkit import Run, assign, fit
from clusterkit.config import config_from_dict, override
from clusterkit.encoders.registry import load_backbone
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.models.heads import pool
from clusterkit.training.history import History
from clusterkit.training.learners import finetune_classifier
from clusterkit.training.loaders import TrainingSplit
from clusterkit.training.stage_journal import StageJournal

# What a network holds beside its layers.
BESIDE = {
    "vit_tiny_patch16_224": {"network.cls_token", "network.pos_embed"},
    "test_convnext": {"network.stages.0.blocks.0.gamma"},
    "tf_efficientnet_lite0": set(),
    "resnet34": set(),
}


@pytest.mark.parametrize("encoder", ["shared", pytest.param("separate", marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("name", BESIDE)
def test_all_that_maps_depend_on_is_trained(name):
    encoder = load_backbone(name, "none", 64).encoder
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8)
    pool(encoder(torch.randn(2, 3, 64, 64))).sum().backward()
    needed = {key for key, value in encoder.named_parameters() if value.grad is not None}
    assert needed >= BESIDE[name]
    encoder.zero_grad()
    before = {key: value.detach().clone() for key, value in encoder.named_parameters()}
    data = TrainingSplit(images, np.array([0, 1, 0, 1]), np.arange(4), np.arange(0))
    config = config_from_dict({"device": "cpu", "train": {"batch_size": 2}})
    stage = StageJournal(KeepsNothing(), "classifier-0", History())
    finetune_classifier(encoder, data, 2, config, 1, stage, lambda done, total: None)
    moved = {k for k, value in encoder.named_parameters() if not torch.equal(value, before[k])}
    assert moved == needed
