"""Fine-tuning with a shared and with a separate encoder."""

import pandas as pd
import pytest

from clusterkit import Run, assign, fit
from clusterkit.config import override


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
