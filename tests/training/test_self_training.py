"""Self-training on features with a known truth."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch

from clusterkit.config import Config, override
from clusterkit.data.labelled import Labelled
from clusterkit.encoders.registry import load_backbone
from clusterkit.methods.held_out_verdict import verdict
from clusterkit.progress import silent
from clusterkit.training.crossfit import cross_fit, held_out_folds
from clusterkit.training.frozen import FrozenFeatures
from tests.training.features import blobs


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_0", "none")


@dataclass(frozen=True, eq=False)
class Watched(FrozenFeatures):
    """Keeps what every fit learned: rows of the labelled images, of the pool, and their labels."""

    seen: list = field(default_factory=list)

    def classifier_refits(self, networks, rows, candidates):
        refit = super().classifier_refits(networks, rows, candidates)

        def watched(chosen, labels):
            self.seen.append((rows, candidates[chosen], labels))
            return refit(chosen, labels)

        return watched


def learn(backbone, features, labels, pool, groups=None, patients=None, **settings) -> tuple:
    """Learn as `fit` does on frozen weights; returns what was learned and what was seen.

    With `patients` images of one are on both sides, as where classes lie within patients.
    """
    n = len(labels)
    names = np.array(["a", "b", "c"])[labels]
    rows = pd.DataFrame({"image": [f"{i:03}.png" for i in range(n)], "split": None,
                         "image_id": [f"{i:016x}" for i in range(n)], "group": patients,
                         "label": names})  # fmt: skip
    units = np.arange(n) if groups is None else groups
    data = Labelled(rows, np.zeros((n, 1, 1, 3), np.uint8), labels, units, sorted(set(names)),
                    within_groups=patients is not None)  # fmt: skip
    config = override(Config(), **{"device": "cpu", "augment__views": "allowed",
                                   "train__siamese_epochs": 1, **settings})  # fmt: skip
    folds, _ = held_out_folds(data, config, "head")
    strategy = FrozenFeatures.given(data, features[None], pool, folds, config, backbone)
    watched = Watched(**vars(strategy))
    appearance = np.random.default_rng(0).random((n, 27))
    return cross_fit(data, appearance, watched, folds, config, silent), watched.seen


def fit_blobs(backbone, apart: float, labelled: int = 120, pooled: int = 200, seed: int = 3,
              **settings) -> tuple:  # fmt: skip
    """Learn from blobs; returns what was learned and its accuracy on the pool."""
    size = 2 * sum(backbone.encoder.depths)
    features, labels = blobs(labelled + pooled, size, apart, seed)
    known, pool = features[:labelled], features[labelled:]
    learned, _ = learn(backbone, known, labels[:labelled], pool, **settings)
    with torch.inference_mode():
        says = learned.scorer.networks.classifier_head(pool).argmax(dim=1).numpy()
    return learned, (says == labels[labelled:]).mean()


@pytest.mark.long
def test_few_labels_gain_where_classes_are_clusters(backbone):
    """No error can be promised from 12 images; over 5 draws the pool helps, and never costs."""
    alone, joined = np.transpose([
        [fit_blobs(backbone, 0.07, 12, seed=seed, train__self_training=rounds)[1]
         for rounds in (0, 4)]
        for seed in range(5)
    ])  # fmt: skip
    assert joined.mean() > alone.mean() + 0.03
    assert (joined >= alone - 0.02).all()


@pytest.mark.slow
def test_held_out_labels_gain_and_the_record_says_so(backbone):
    alone, _ = fit_blobs(backbone, 0.1, train__self_training=0)
    joined, _ = fit_blobs(backbone, 0.1)
    record = joined.decisions["self_training"]
    assert record == {"rounds": 4, "why": "held-out labels gained by it", "joined": 160}
    assert joined.calibration.log_likelihood > alone.calibration.log_likelihood
    assert alone.decisions["self_training"]["rounds"] == 0


def test_images_of_patients_that_are_known_do_not_count_as_patients(backbone, monkeypatch):
    """Measured within patients, new ones are not looked at: 12 images of 2 are no 12 units."""
    judged = []

    def watched(gains, lenient):
        judged.append(len(gains))
        return verdict(gains, lenient)

    monkeypatch.setattr("clusterkit.training.self_training.verdict", watched)
    features, labels = blobs(40, 2 * sum(backbone.encoder.depths), 0.1, 3)
    known, pool, patients = features[:12], features[12:], [f"P{i % 2}" for i in range(12)]
    learn(backbone, known, labels[:12], pool, patients=patients)
    learn(backbone, known, labels[:12], pool)
    assert judged == [2, 12]


@pytest.mark.slow
def test_a_pool_that_misleads_is_refused(backbone):
    """It falls into two kinds that have nothing to do with the classes (as two scanners do)."""
    size = 2 * sum(backbone.encoder.depths)
    rng = np.random.default_rng(5)
    features, labels = blobs(300, size, 0.07, 7)
    kinds = rng.permutation(np.arange(300) % 2) * 2 - 1
    scanner = rng.normal(size=size).astype(np.float32)
    features = features + 0.3 * torch.from_numpy(kinds[:, None].astype(np.float32) * scanner)
    learned, seen = learn(backbone, features[:60], labels[:60], features[60:])
    assert len(seen) > 0
    assert learned.decisions["self_training"]["rounds"] == 0
    assert learned.decisions["self_training"]["why"] == "held-out labels did not gain by it"


@pytest.mark.slow
def test_labels_that_a_fold_holds_out_have_no_part_in_what_it_learns(backbone):
    """Two held-out images change their labels: the fold learns the same, under the same labels."""
    size = 2 * sum(backbone.encoder.depths)
    features, labels = blobs(50, size, 0.05, 3, n_classes=3)
    pool, groups = features[30:], np.arange(30) // 3
    known, other = features[:30], labels[:30].copy()
    rounds = {"train__self_training": 2}
    _, seen = learn(backbone, known, labels[:30], pool, groups, **rounds)
    rows = seen[0][0]
    held_out = np.setdiff1d(np.arange(30), rows)
    # One becomes the other's, so that the classes' proportions stay.
    a, b = held_out[0], held_out[np.flatnonzero(labels[held_out] != labels[held_out[0]])[0]]
    other[a], other[b] = other[b], other[a]
    _, changed = learn(backbone, known, other, pool, groups, **rounds)
    same = [
        (before, after)
        for before, after in zip(seen, changed, strict=True)
        if not np.isin([a, b], before[0]).any()
    ]
    assert len(same) == 2
    for before, after in same:
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, two)
    assert len(seen) == len(changed) > 2


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [1, 2])
def test_a_pool_of_one_or_two_images(backbone, pooled):
    learned, _ = fit_blobs(backbone, 0.1, 12, pooled)
    record = learned.decisions["self_training"]
    assert record["joined"] <= pooled
    assert record["rounds"] in (0, 4)


def test_one_split_keeps_all_labelled_images_as_exemplars(backbone):
    """After self-training too: a new image may be compared with what was held out."""
    learned, _ = fit_blobs(backbone, 0.1, train__folds=1)
    assert learned.decisions["self_training"]["rounds"] == 4
    assert len(learned.scorer.gallery.labels) == 120
    assert len(learned.calibration.labels) < 60
