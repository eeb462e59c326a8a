"""fastai training: pairs, both strategies' shapes, given splits, one-image classes."""

import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit import Run, assign, fit, read_manifest
from clusterkit.config import AugmentConfig, config_from_dict, override
from clusterkit.data.cache import room_for_images
from clusterkit.data.labelled import Labelled, load_labelled
from clusterkit.data.splits import units_of
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.errors import DataError
from clusterkit.methods.calibration import HeldOut, calibrate, clearly_likelier
from clusterkit.methods.fusion import Scores
from clusterkit.models.networks import Networks, embed_all
from clusterkit.training.callbacks import KeepBest
from clusterkit.training.head_start import StartFeatures
from clusterkit.training.learners import Data, History, finetune_siamese
from clusterkit.training.pairs import all_pairs, join_all, mixed_batches, pair_weights
from clusterkit.training.stopping import keep_back


def features_of(encoder, images):
    networks = Networks(encoder, torch.nn.Identity(), torch.nn.Sequential())
    return embed_all(networks, images, "cpu").siamese


@st.composite
def batches(draw):
    labels = np.array(draw(st.lists(st.integers(0, 5), min_size=3, max_size=40)))
    return labels, draw(st.integers(3, len(labels)))


@given(batches(), st.integers(0, 999))
def test_batches_hold_both_kinds_of_pairs_whatever_the_classes(case, seed):
    labels, size = case
    dealt = mixed_batches(labels, size, np.random.default_rng(seed))
    assert dealt.shape == (len(labels) // size, size)
    sizes = np.bincount(labels)
    for batch in dealt:
        assert len(set(batch)) == size
        kinds = np.bincount(labels[batch])
        assert (kinds.max() > 1) == (sizes.max() > 1 or size > len(sizes))
        assert ((kinds > 0).sum() > 1) == ((sizes > 0).sum() > 1)


def test_most_images_meet_one_of_their_class():
    labels = np.repeat(np.arange(40), 6)
    dealt = labels[mixed_batches(labels, 16, np.random.default_rng(0))]
    alone = [np.mean(np.bincount(batch)[batch] == 1) for batch in dealt]
    assert np.mean(alone) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=9))
def test_loss_of_all_pairs_is_what_drawn_pairs_would_give_on_average(labels):
    """A naive loop over the article's draw: any image, either kind, a partner of that kind."""
    n, kinds = len(labels), {True: {}, False: {}}
    for i, own in enumerate(labels):
        others = sorted(set(labels) - {own})
        mates = [j for j in range(n) if labels[j] == own and j != i]
        for j in mates:
            kinds[True][i, j] = 1 / len(mates)
        for other in others:
            members = [j for j in range(n) if labels[j] == other]
            for j in members:
                kinds[False][i, j] = 1 / len(others) / len(members)
    present = [kind for kind in kinds.values() if kind]
    same, weights = pair_weights(torch.tensor(labels))
    first, second = all_pairs(n)
    for i, j, alike, weight in zip(*map(torch.Tensor.tolist, (first, second, same, weights)),
                                   strict=True):  # fmt: skip
        kind = kinds[labels[i] == labels[j]]
        assert alike == (labels[i] == labels[j])
        assert weight == pytest.approx(kind[i, j] / sum(kind.values()) / len(present), rel=1e-4)


def test_many_images_make_pairs_within_runs_of_32():
    first, second = all_pairs(70)
    assert len(first) == 2 * 32 * 31 + 6 * 5
    assert (first // 32 == second // 32).all()
    assert (first != second).all()
    labels = torch.arange(70) % 3
    assert pair_weights(labels)[1].sum().item() == pytest.approx(1, abs=1e-4)


class _Small(torch.nn.Sequential):
    channels = 8

    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())


def test_siamese_model_learns_pairs_of_images_that_it_has_not_seen():
    """From random weights: held-out pairs of three colours in noise."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 40)
    images = rng.integers(0, 180, (120, 32, 32, 3), dtype=np.uint8)
    images[np.arange(120), :, :, labels] += 70
    config = config_from_dict({"device": "cpu", "train": {"batch_size": 15}})
    torch.manual_seed(0)
    encoder, seen = _Small(), []
    data, history = Data(images, labels, np.arange(90), np.arange(90, 120), True), History()
    head = finetune_siamese(encoder, data, config, 10, history, lambda *step: seen.append(step))
    assert max(row["valid_accuracy"] for row in history.rows) > 0.9
    assert seen[-1][0] == seen[-1][1]
    # Each image once an epoch, not once for each of its pairs.
    assert seen[-1][0] == 90 * len(history.rows)
    with torch.inference_mode():
        logits = head(join_all(features_of(encoder, images[90:])))[:, 0]
    same, weights = pair_weights(torch.as_tensor(labels[90:]))
    assert weights[(logits > 0) == same].sum() > 0.9


class _Losses:
    """Stands for a model that is as good as a list says, epoch by epoch."""

    def __init__(self, losses):
        self.losses, self.epoch, self.kept = losses, -1, []

    def __call__(self):
        self.epoch += 1
        return self.losses[self.epoch], 0.5


def _train_on(losses, choosing):
    model = torch.nn.Linear(1, 1)
    rows = [(torch.ones(1), torch.ones(1))] * 4
    loaders = DataLoaders(DataLoader(rows, bs=2), DataLoader(rows, bs=2))
    record, weights, watch = [], [], _Losses(losses)

    def note(*row):
        record.append(row)
        weights.append(model.weight.item())

    keep = KeepBest(watch, len(losses), choosing, note)
    learner = Learner(loaders, model, loss_func=torch.nn.functional.mse_loss, cbs=keep)
    with learner.no_bar(), learner.no_logging():
        learner.fit(len(losses))
    return model.weight.item(), weights, record


def test_best_weights_are_kept_and_no_gain_ends_training():
    losses = [9, 8, 7, 6, 2, 3, 3, 3, 3, 3, 3, 1]
    last, weights, record = _train_on(losses, choosing=True)
    assert last == weights[4]
    assert [row[2] for row in record] == losses[:8]
    assert len(set(weights)) == 8


def test_losses_before_the_rate_peaks_do_not_end_training():
    losses = [1, 5, 5, 5, 5, 0.5, 5, 5, 5, 5, 5, 5]
    last, weights, record = _train_on(losses, choosing=True)
    assert (last, len(record)) == (weights[5], 9)


def test_what_calibration_measures_on_chooses_no_epoch():
    last, weights, record = _train_on([1, 2, 3, 4, 5, 6], choosing=False)
    assert last == weights[-1]
    assert [row[2] for row in record] == [1, 2, 3, 4, 5, 6]


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(1, 9), st.integers(2, 4), st.integers(0, 99))
def test_images_kept_back_are_whole_patients_and_leave_every_class(patients, each, classes, seed):
    n = patients * each
    rows = pd.DataFrame({
        "image": [f"{i}.png" for i in range(n)], "image_id": [f"id{i}" for i in range(n)],
        "group": np.repeat([f"p{i}" for i in range(patients)], each),
        "label": [str(i % classes) for i in range(n)],
    })  # fmt: skip
    labels = np.arange(n) % classes
    data = Labelled(rows, np.empty((n, 0, 0, 3), np.uint8), labels, units_of(rows), [])
    chosen = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.9)
    kept = keep_back(data, chosen, seed)
    assert not set(data.units[chosen[kept]]) & set(data.units[chosen[~kept]])
    assert set(labels[chosen]) == set(labels[chosen[~kept]])
    assert not 0 < kept.sum() < 20
    if patients >= 30 and each >= 8:
        assert 20 <= kept.sum() < len(chosen) / 3


def test_features_to_start_from_are_computed_once_and_are_those_of_each_view():
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    encoder, calls = empty_encoder("squeezenet1_1").eval(), []
    start = StartFeatures(encoder, images, "cpu", lambda *step: calls.append(step))
    whole = start.views(AugmentConfig(flip_horizontal=True, flip_vertical=True))
    assert calls == [(20, 20)]
    for across, down in np.ndindex(2, 2):
        augment = AugmentConfig(flip_horizontal=bool(across), flip_vertical=bool(down))
        views = start.views(augment)
        assert len(views) == (1 + across) * (1 + down)
        last = images[:, :: -1 if down else 1, :: -1 if across else 1].copy()
        want = features_of(encoder, last)
        assert torch.allclose(views[-1], want, atol=1e-3)
    assert len(calls) == 2
    assert start.views(AugmentConfig()) is start.views(AugmentConfig())
    assert torch.equal(start.views(AugmentConfig())[0], whole[0])


def test_images_beyond_the_bound_are_in_a_file_that_nobody_sees(sample, config, tmp_path,
                                                                monkeypatch):  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    manifest = read_manifest(sample / "labels.csv", config)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    manifest.loc[3, "path"] = str(broken)
    memory = load_labelled(manifest, config, lambda *step: None)
    mapped = load_labelled(manifest, override(config, train__cache_mb=0), lambda *step: None)
    assert isinstance(mapped.images, np.memmap)
    assert not isinstance(memory.images, np.memmap)
    assert np.array_equal(memory.images, mapped.images)
    assert len(mapped.images) == len(manifest[manifest["label"].notna()]) - 1
    assert [p.name for p in tmp_path.iterdir()] == ["broken.png"]


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clusterkit.data.cache._reserve", full)
    with pytest.raises(DataError, match=r"^9 images of 64 pixels .* \(No space left on device\); "
                                        r".*TMPDIR.*train\.cache_mb$"):  # fmt: skip
        room_for_images(9, 64, 0)


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
        scores = Scores(logits, logits, vote)
        held_out = HeldOut(rows, scores, np.zeros((n, 2)), labels[:n], rows, rows % 5)
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

    source, size = SETS["bccd"]
    labelled, rest = draw(read_manifest(real_data / "bccd" / source), 20, 0)
    labelled[["image", "label", "group"]].to_csv(tmp_path / "l.csv", index=False)
    rest[["image", "group"]].to_csv(tmp_path / "u.csv", index=False)
    weights = real_data / "weights" / "squeezenet1_0_imagenet.pth"
    chosen = config_from_dict({
        "data": {"images": str(real_data / "bccd")}, "image": {"size": size},
        "model": {"backbone": "squeezenet1_0", "weights": str(weights)},
    })  # fmt: skip
    run = fit(tmp_path / "l.csv", config=chosen, run=tmp_path / "run")
    table = assign(run, tmp_path / "u.csv", config=chosen).table.set_index("image")
    truth = rest.set_index("image")["label"].loc[table.index]
    assert (table["predicted_label"] == truth).mean() >= 0.96
