"""Which strategy is chosen, and when fine-tuning is kept."""

import numpy as np
import pytest
import torch
import torchvision

from clusterkit import Run, assign, fit
from clusterkit.config import override
from clusterkit.methods.calibration import HeldOut, calibrate, clearly_likelier
from clusterkit.methods.fusion import Scores


@pytest.mark.long
def test_fine_tuning_that_does_not_help_is_not_kept(sample, config, tmp_path, caplog):
    """With a rate of almost nothing a new head stays a guess: heads on frozen features win."""
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    asked = override(config, model__backbone="resnet18", model__weights=str(weights),
                     train__strategy="finetune", train__epochs=1, train__lr=1e-8)  # fmt: skip
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
        scores = Scores(logits, logits, vote)
        held_out = HeldOut(rows, scores, np.zeros((n, 2)), labels[:n], rows, rows % 5)
        return calibrate(held_out, np.full(2, 0.5), 1.0, 2)

    assert clearly_likelier(calibration(4.0, 60), calibration(1.0, 60))
    assert not clearly_likelier(calibration(1.0, 60), calibration(4.0, 60))
    assert not clearly_likelier(calibration(4.0, 8), calibration(1.0, 8))


@pytest.mark.slow
def test_progress_and_auto_strategy(sample, config, tmp_path):
    seen = []
    chosen = override(config, train__strategy="auto", train__epochs=1, train__siamese_epochs=1)
    run = fit(sample / "labels.csv", config=chosen, run=tmp_path / "run",
              progress=lambda *step: seen.append(step))  # fmt: skip
    assert run.info["strategy"] == "finetune"
    assert "random weights" in run.info["strategy_reason"]
    assert seen[-1][1] == seen[-1][2]
