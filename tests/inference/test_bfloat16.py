"""Encoding in bfloat16 through fit and assign: no label depends on rounding."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from clusterkit import Run, assign, fit
from clusterkit.config import override
from clusterkit.errors import RunError
from clusterkit.models.forward import BFLOAT16, FLOAT32


@pytest.fixture(scope="module")
def quick_run(sample, config, tmp_path_factory) -> Run:
    # Asked for by name, it is imitated on processors that do not have it.
    config = override(config, model__precision=BFLOAT16)
    return fit(sample / "labels.csv", config=config, run=tmp_path_factory.mktemp("q") / "run")


@pytest.mark.slow
def test_what_is_learned_is_the_same_in_both_precisions(quick_run, run, sample, tmp_path):
    assert (quick_run.info["precision"]["used"], quick_run.networks.precision) == (BFLOAT16,) * 2
    assert run.info["precision"]["used"] in (BFLOAT16, FLOAT32)
    plain = fit(sample / "labels.csv", run=tmp_path / "run",
                config=override(quick_run.config, model__precision=FLOAT32))  # fmt: skip
    assert Run.load(plain.path).networks.precision == FLOAT32
    for name in ("features", "projection", "novelty.precisions"):
        assert torch.equal(plain.gallery[name], quick_run.gallery[name]), name
    assert plain.calibration["fusion"] == quick_run.calibration["fusion"]
    held_out = [np.array(r.calibration["held_out"]["probs"]) for r in (plain, quick_run)]
    assert 0 < np.abs(held_out[0] - held_out[1]).max() < 0.1


@pytest.mark.slow
def test_close_calls_are_encoded_again_in_float32(quick_run, sample, tmp_path):
    def table(close: float, used: str = BFLOAT16) -> pd.DataFrame:
        info = replace(quick_run.info, precision={"used": used, "close": close})
        run = replace(quick_run, info=info)
        run.networks = replace(run.networks, precision=used, _prepared={})
        return assign(run, sample / "unlabeled.csv", out=tmp_path / "a.csv", fresh=True).table

    plain, never, always = table(0.0, FLOAT32), table(0.0), table(np.inf)
    pd.testing.assert_frame_equal(always, plain)
    assert (never["confidence"] != plain["confidence"]).any()
    assert np.nanmax(np.abs(never["confidence"] - plain["confidence"])) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_processes_and_interruptions_change_no_byte(quick_run, sample, tmp_path, workers):
    def written(name: str, count: int, stop_after: int = 0) -> bytes:
        config = override(quick_run.config, assign__batch_size=5, assign__workers=count)
        out = tmp_path / f"{name}.csv"

        def stop(stage: str, done: int, total: int) -> None:
            if stage == "assign" and done >= stop_after:
                raise KeyboardInterrupt

        if stop_after:
            with pytest.raises(KeyboardInterrupt):
                assign(quick_run, sample / "unlabeled.csv", config=config, out=out, progress=stop)
        result = assign(quick_run, sample / "unlabeled.csv", config=config, out=out)
        assert (result.summary["resumed_batches"] > 0) == bool(stop_after)
        return out.read_bytes()

    alone = written("alone", 0)
    assert written("many", workers) == alone
    # All but a few images were done before: these few are computed no other way.
    assert written("resumed", workers, stop_after=len(alone.splitlines()) - 8) == alone


def test_what_fails_in_a_process_is_one_clear_line(command, run, sample, tmp_path, monkeypatch):
    config = tmp_path / "two.toml"
    config.write_text("[assign]\nworkers = 2\nbatch_size = 5\n")
    arguments = ("assign", sample / "unlabeled.csv", "--run", run.path, "--config", config,
                 "--out", tmp_path / "a.csv")  # fmt: skip

    def fails(self, batch, started):
        raise RunError("the run is of no use")

    monkeypatch.setattr("clusterkit.inference.predictor.Predictor.finish", fails)
    assert command(*arguments)[::2] == (1, "error: the run is of no use\n")

    def dies(self, batch, started):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("clusterkit.inference.predictor.Predictor.finish", dies)
    code, _, said = command(*arguments)
    assert code == 1
    assert said.startswith("error: a process that reads images was ended from outside")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "value",
    [None, {}, [], {"used": "float16"}, {"used": BFLOAT16, "close": float("nan")},
     {"used": BFLOAT16, "close": "x"}, {"used": BFLOAT16, "clothes": 1}],
)  # fmt: skip
def test_a_precision_that_nobody_wrote(command, run, sample, tmp_path, value):
    shutil.copytree(run.path, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"precision": value}))
    code, _, said = command("assign", sample / "unlabeled.csv", "--run", tmp_path / "run")
    assert code == 1
    assert "damaged" in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_prepared_encoder_is_that_of_its_device_and_precision(quick_run):
    networks = quick_run.networks
    first = networks.forward_of(networks.encoder, "cpu")
    assert networks.forward_of(networks.encoder, "cpu") is first
    assert networks.forward_of(networks.encoder, "cpu", FLOAT32) is not first
