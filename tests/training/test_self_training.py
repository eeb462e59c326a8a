"""Self-training on features with a known truth."""

import numpy as np
import pandas as pd
import pytest

from clusterkit.config import Config, override
from clusterkit.data.labelled import Labelled
from clusterkit.encoders.registry import load_backbone
from clusterkit.progress import silent
from clusterkit.training.crossfit import cross_fit, held_out_folds
from clusterkit.training.frozen import FrozenFeatures
from tests.training.features import blobs


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_0", "none")


def fit_blobs(backbone, apart: float, **settings) -> tuple:
    """Learn from 120 images of features with a pool of 200, as `fit` does on frozen weights."""
    size = 2 * sum(backbone.encoder.depths)
    features, labels = blobs(320, size, apart, 3)
    rows = pd.DataFrame({"image": [f"{i:03}.png" for i in range(120)], "split": None,
                         "image_id": [f"{i:016x}" for i in range(120)], "group": None,
                         "label": np.array(["a", "b"])[labels[:120]]})  # fmt: skip
    data = Labelled(rows, np.zeros((120, 1, 1, 3), np.uint8), labels[:120], np.arange(120),
                    ["a", "b"])  # fmt: skip
    config = override(Config(), **{"device": "cpu", "assign__max_error": 0.1, **settings})
    folds, _ = held_out_folds(data, config, "head")
    strategy = FrozenFeatures.given(
        data, features[None, :120], features[120:], folds, config, backbone
    )
    appearance = np.random.default_rng(0).random((120, 27))
    learned = cross_fit(data, appearance, strategy, folds, config, silent)
    return learned, features[120:], labels[120:]


@pytest.mark.slow
def test_self_training_joins_sure_images_and_stays_only_where_held_out_labels_gain(backbone):
    alone, _, _ = fit_blobs(backbone, 0.1, train__self_training=0, augment__views="allowed")
    joined, _, _ = fit_blobs(backbone, 0.1, train__self_training=3, augment__views="allowed")
    record = joined.decisions["self_training"]
    assert record["rounds"] >= 1
    assert 100 < record["joined"] <= 200
    assert joined.calibration.log_likelihood > alone.calibration.log_likelihood
    assert alone.decisions["self_training"]["rounds"] == 0


@pytest.mark.slow
def test_nothing_joins_where_no_error_can_be_promised(backbone):
    """Classes that cannot be told apart: no image of the pool is sure enough to teach."""
    learned, _, _ = fit_blobs(backbone, 0.0, augment__views="allowed")
    assert learned.decisions["self_training"]["rounds"] == 0
    assert "could be promised" in learned.decisions["self_training"]["why"]
    assert 0.2 < learned.calibration.correct.mean() < 0.8


def test_one_split_keeps_all_labelled_images_as_exemplars(backbone):
    """After self-training too: a new image may be compared with what was held out."""
    learned, _, _ = fit_blobs(backbone, 0.1, train__folds=1, augment__views="allowed",
                           assign__max_error=0.3)  # fmt: skip
    assert learned.decisions["self_training"]["rounds"] >= 1
    assert len(learned.scorer.gallery.labels) == 120
    assert len(learned.calibration.labels) < 60
