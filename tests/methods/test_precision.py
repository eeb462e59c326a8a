"""The quick forward: the same features in less time, and labels that do not hang on rounding."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clusterkit import Run, assign, fit
from clusterkit.config import override
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.errors import RunError
from clusterkit.methods.calibration import HeldOut, calibrate
from clusterkit.methods.fusion import Scores
from clusterkit.methods.precision import Precision
from clusterkit.models.forward import BFLOAT16, FLOAT32, normalise, prepare, quick_precision
from clusterkit.models.heads import pool

# --- the forward --------------------------------------------------------------------------


@pytest.fixture(params=["resnet18", "densenet121", "squeezenet1_1", "shufflenet_v2_x0_5"])
def encoder(request):
    torch.manual_seed(0)
    found = empty_encoder(request.param).eval()
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return found


def test_prepared_forward_gives_the_encoders_features_and_leaves_it_alone(encoder):
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    images = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = pool(encoder(normalise(images, "cpu")))
    plain = prepare(encoder, FLOAT32, "cpu")(images)
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    quick = prepare(encoder, BFLOAT16, "cpu")
    rounded = quick(images)
    assert rounded.dtype == torch.float32
    assert torch.cosine_similarity(rounded, expected).min() > 0.99
    assert not torch.equal(rounded, plain)
    # What an image gives does not depend on those beside it, or a resumed run would differ.
    assert torch.equal(quick(images[:2]), rounded[:2])
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_bfloat16_is_for_processors_that_have_it(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert quick_precision("cpu") == FLOAT32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert quick_precision("cpu") == BFLOAT16


# --- close calls --------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.3), st.integers(2, 5))
def test_clear_calls_keep_their_label_where_rounding_is_like_on_held_out_images(seed, noise, k):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (400, k))
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    moved = np.exp(logits + rng.normal(0, noise, logits.shape))
    quick = moved / moved.sum(axis=1, keepdims=True)
    found = Precision.compared(BFLOAT16, quick[:200], plain[:200])
    clear = ~found.is_close(quick[200:])
    other = (quick[200:].argmax(axis=1) != plain[200:].argmax(axis=1)) & clear
    assert other.mean() <= 0.005
    assert found.agrees == (found.close_share <= 0.03 and found.other_labels <= 1)
    same = Precision.compared(BFLOAT16, plain, plain)
    assert (same.close, same.other_labels, same.agrees) == (0.0, 0, True)
    assert not Precision(FLOAT32).is_close(np.full((3, k), 1 / k)).any()


def test_too_noisy_a_precision_is_not_taken():
    rng = np.random.default_rng(0)
    plain = rng.dirichlet(np.full(3, 20.0), 200)
    quick = rng.dirichlet(np.full(3, 20.0), 200)
    assert not Precision.compared(BFLOAT16, quick, plain).agrees


def test_fusion_is_fitted_in_float32_and_the_promise_measured_as_assign_computes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    nothing, rows = np.full((120, 3), np.nan), np.arange(120)
    plain = Scores(2.0 * np.eye(3)[labels] + rng.normal(size=(120, 3)), rng.normal(size=(120, 3)),
                   nothing)  # fmt: skip
    rounded = replace(plain, logits=plain.logits + rng.normal(0, 0.2, (120, 3)))
    novelty, even = np.zeros((120, 2)), np.full(3, 1 / 3)
    alone = calibrate(HeldOut(rows, plain, novelty, labels, rows, rows % 5), even, 1.0, 3)
    both = calibrate(HeldOut(rows, rounded, novelty, labels, rows, rows % 5, plain), even, 1.0, 3)
    assert both.fusion == alone.fusion
    assert (both.chosen, both.inputs) == (alone.chosen, alone.inputs)
    assert 0 < np.abs(both.probs - alone.probs).max() < 0.5


# --- through fit and assign ---------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_run(sample, config, tmp_path_factory) -> Run:
    # Asked for by name, it is imitated on processors that do not have it.
    config = override(config, model__precision=BFLOAT16)
    return fit(sample / "labels.csv", config=config, run=tmp_path_factory.mktemp("q") / "run")


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

    def fails(self, batch):
        raise RunError("the run is of no use")

    monkeypatch.setattr("clusterkit.inference.predictor.Predictor.evidence", fails)
    assert command(*arguments)[::2] == (1, "error: the run is of no use\n")

    def dies(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("clusterkit.inference.predictor.Predictor.evidence", dies)
    code, _, said = command(*arguments)
    assert code == 1
    assert said.startswith("error: a process that reads images was ended from outside")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "value",
    [None, {}, [], {"used": "float16"}, {"used": BFLOAT16, "close": float("nan")},
     {"used": BFLOAT16, "close": "x"}, {"used": BFLOAT16, "clothes": 1}],
)  # fmt: skip
def test_a_precision_that_nobody_wrote(command, quick_run, sample, tmp_path, value):
    shutil.copytree(quick_run.path, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"precision": value}))
    code, _, said = command("assign", sample / "unlabeled.csv", "--run", tmp_path / "run")
    assert code == 1
    assert "damaged" in said
    assert len(said.splitlines()) == 1


def test_a_prepared_encoder_is_that_of_its_device_and_precision(quick_run):
    networks = quick_run.networks
    first = networks.forward_of(networks.encoder, "cpu")
    assert networks.forward_of(networks.encoder, "cpu") is first
    assert networks.forward_of(networks.encoder, "cpu", FLOAT32) is not first
