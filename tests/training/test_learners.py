"""fastai learners on images."""

import numpy as np
import pytest
import torch

from clusterkit.config import config_from_dict
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.errors import ConfigError
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.training.history import History
from clusterkit.training.learners import finetune_classifier, finetune_siamese
from clusterkit.training.loaders import TrainingSplit
from clusterkit.training.pairs import join_all, pair_weights
from clusterkit.training.stage_journal import StageJournal
from tests.training.features import features_of


class _Small(torch.nn.Sequential):
    channels = 8
    expects, side = EncoderInput(), 32

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
    data = TrainingSplit(images, labels, np.arange(90), np.arange(90, 120), True)
    history = History()
    stage = StageJournal(KeepsNothing(), "siamese-0", history)
    head = finetune_siamese(encoder, data, config, 10, stage, lambda *step: seen.append(step))
    assert max(row["valid_accuracy"] for row in history.rows) > 0.9
    assert seen[-1][0] == seen[-1][1]
    # Each image once an epoch, not once for each of its pairs.
    assert seen[-1][0] == 90 * len(history.rows)
    with torch.inference_mode():
        logits = head(join_all(features_of(encoder, images[90:])))[:, 0]
    same, weights = pair_weights(torch.as_tensor(labels[90:]))
    assert weights[(logits > 0) == same].sum() > 0.9


def three_colours(count):
    """Images (count, 32, 32, 3) of three colours in noise, and which they are."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    images = rng.integers(0, 180, (count, 32, 32, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 70
    return images, labels


def train_classifier(encoder, epochs=4):
    images, labels = three_colours(60)
    config = config_from_dict({"device": "cpu", "train": {"batch_size": 15}})
    data = TrainingSplit(images, labels, np.arange(45), np.arange(45, 60), True)
    history = History()
    stage = StageJournal(KeepsNothing(), "classifier-0", history)
    finetune_classifier(encoder, data, 3, config, epochs, stage, lambda *_: None)
    return history.rows


def test_float16_trains_with_scaled_losses(monkeypatch):
    """As on a GPU without bfloat16: the processor knows float16 and its scaler too."""
    monkeypatch.setattr("clusterkit.training.callbacks.quick_precision", lambda device: "float32")
    for module in ("callbacks", "learners"):
        monkeypatch.setattr(f"clusterkit.training.{module}.half_precision", lambda _: torch.float16)
    scales, made = [], torch.amp.GradScaler

    class Scaler(made):
        def update(self, *told):
            super().update(*told)
            scales.append(self.get_scale())

    monkeypatch.setattr("clusterkit.training.callbacks.GradScaler", Scaler)
    torch.manual_seed(0)
    rows = train_classifier(_Small(), 6)
    assert len(scales) == 3 * len(rows)
    assert min(scales) > 1
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert all(np.isfinite(row["valid_loss"]) for row in rows)


def test_no_room_for_a_training_batch_is_one_line():
    class Large(_Small):
        def forward(self, images):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(ConfigError, match=r"batches of 15 images of 32 .* train.batch_size"):
        train_classifier(Large())
