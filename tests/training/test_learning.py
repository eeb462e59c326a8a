"""Heads, exemplars, propagation, label shift, self-training: what teaches, and how."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clusterkit import fit
from clusterkit.config import Config, ImageConfig, override
from clusterkit.data.labelled import Labelled
from clusterkit.encoders.torchvision import load_backbone
from clusterkit.errors import DataError
from clusterkit.methods.k_center import choose_exemplars
from clusterkit.methods.label_propagation import Neighbourhood
from clusterkit.methods.label_shift import apply_prior, estimate_prior
from clusterkit.models.heads import pair_features
from clusterkit.models.networks import Networks, embed_paths
from clusterkit.models.siamese import FactoredSiamese
from clusterkit.progress import silent
from clusterkit.training.crossfit import held_out_folds, learn
from clusterkit.training.learners import History
from clusterkit.training.linear import fit_linear_head
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.pairs import draw_pairs
from clusterkit.training.trainer import Trainer


def blobs(n: int, width: int, apart: float, seed: int, n_classes: int = 2) -> tuple:
    """Features (n, width) of classes with means of their own, and labels."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(0).normal(size=(n_classes, width))
    labels = np.arange(n) % n_classes
    features = rng.normal(size=(n, width)) + apart * means[labels]
    return torch.from_numpy(features.astype(np.float32)), labels


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.integers(0, 99))
def test_pairs_hold_what_they_say(labels, seed):
    labels = torch.tensor(np.unique(labels, return_inverse=True)[1])
    first, second, same = draw_pairs(labels, 64, torch.Generator().manual_seed(seed))
    assert (first != second).all()
    assert ((labels[first] == labels[second]) == same).all()


def test_half_of_the_pairs_are_alike_and_no_class_is_the_usual_partner():
    labels = torch.tensor([0] * 80 + [1] * 10 + [2] * 10)
    first, second, same = draw_pairs(labels, 8000, torch.Generator().manual_seed(0))
    assert same.float().mean() == pytest.approx(0.5, abs=0.02)
    partners = labels[second][~same & (labels[first] == 1)]
    assert (partners == 2).float().mean() == pytest.approx(0.5, abs=0.06)


def test_pair_head_tells_classes_apart_and_factors_exactly():
    features, labels = blobs(60, 8, 2.0, 0)
    views = torch.stack([features, features + 0.01])
    losses = []
    head = fit_pair_head(views, labels, 60, 3e-3, 0.01, 0, lambda e, loss: losses.append(loss))
    again = fit_pair_head(views, labels, 60, 3e-3, 0.01, 0)
    assert losses[-1] < losses[0] / 2
    fresh, truth = blobs(40, 8, 2.0, 1)
    with torch.no_grad():
        both = [head(pair_features(a, b))[:, 0] for a, b in
                ((fresh, fresh.flip(0)), (fresh.flip(0), fresh))]  # fmt: skip
        repeated = again(pair_features(fresh, fresh.flip(0)))[:, 0]
    assert torch.equal(both[0], repeated)
    alike = truth == truth[::-1]
    assert ((both[0] > 0).numpy() == alike).mean() > 0.9
    siamese = FactoredSiamese.from_head(head)
    logits = siamese.logits(siamese.project(fresh), siamese.project(fresh.flip(0)))
    assert torch.allclose(logits.diagonal(), (both[0] + both[1]) / 2, atol=1e-4)


def test_linear_head_is_the_regression_whatever_the_space_it_is_fitted_in():
    features, labels = blobs(30, 100, 1.0, 0, 3)
    head = fit_linear_head(features[None], labels, np.full(3, 1 / 3), [50], 0.02)
    scaled = (features - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    plain = LogisticRegression(C=0.02, max_iter=5000).fit(scaled, labels)
    fresh, _ = blobs(20, 100, 1.0, 1, 3)
    with torch.no_grad():
        probs = torch.softmax(head(fresh), 1).numpy()
    scaled = (fresh - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    assert np.abs(probs - plain.predict_proba(scaled)).max() < 0.01


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(2, 4))
def test_exemplars_are_as_spread_out_as_twice_the_best(seed, most):
    points = np.random.default_rng(seed).normal(size=(9, 2))
    labels = np.zeros(9, dtype=int)
    chosen = np.flatnonzero(choose_exemplars(points, labels, most))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)

    def radius(centres) -> float:
        return distance[:, list(centres)].min(axis=1).max()

    assert len(chosen) == most
    # Its first centre is the one nearest the mean: twice the best that holds it.
    best = min(radius(c) for c in combinations(range(9), most))
    assert radius(chosen) <= 2 * best + 1e-9


def test_all_are_exemplars_where_there_are_few():
    labels = np.array([0, 0, 1, 1, 1, 1])
    chosen = choose_exemplars(np.arange(12.0).reshape(6, 2), labels, 3)
    assert chosen[:2].all()
    assert chosen[2:].sum() == 3


def test_labels_spread_along_what_lies_together():
    """Two rings, one label each: neighbours carry it round, where a line between them fails."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    inner = np.c_[ring, np.full(60, 3.0)]
    outer = np.c_[3 * ring, np.full(60, 3.0)]
    labelled, pool = np.stack([inner[0], outer[0]]), np.r_[inner[1:], outer[1:]]
    unsure = np.full((118, 2), 0.5)
    spread = Neighbourhood.build(labelled, np.array([0, 1]), pool, unsure)
    # Half way round takes more rounds than are made; near the labels they have arrived.
    near = np.r_[0:4, 55:59]
    assert (spread.beliefs[2:61][near].argmax(1) == 0).all()
    assert (spread.beliefs[61:][near].argmax(1) == 1).all()
    assert spread.beliefs[:2].tolist() == [[1, 0], [0, 1]]
    assert np.allclose(spread.beliefs.sum(1), 1, atol=1e-5)


def test_an_image_does_not_vote_for_itself_and_may_have_no_neighbours():
    rng = np.random.default_rng(0)
    pool = rng.normal([5, 0, 0], 0.1, (30, 3))
    labelled = rng.normal([5, 0, 0], 0.1, (2, 3))
    probs = np.tile([0.0, 1.0], (30, 1))
    probs[0] = [1.0, 0.0]
    graph = Neighbourhood.build(labelled, np.array([1, 1]), pool, probs)
    assert graph.vote(pool[:1])[0, 0] < 0.3
    assert np.isnan(graph.vote(np.array([[0.0, 0.0, 5.0]]))).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.floats(0.1, 0.9))
def test_label_shift_is_found_and_undone(seed, share):
    rng = np.random.default_rng(seed)
    labels = (rng.random(2000) < share).astype(int)
    x = rng.normal(size=2000) + 3.0 * labels - 1.5
    # The posterior under equal proportions of two unit normals 3 apart.
    probs = 1 / (1 + np.exp(-3.0 * x))
    probs, even = np.stack([1 - probs, probs], 1), np.array([0.5, 0.5])
    found = estimate_prior(probs, even, 500)
    assert found[1] == pytest.approx(share, abs=0.06)
    shifted = apply_prior(probs, even, found)
    assert np.allclose(shifted.sum(1), 1)
    assert (shifted.argmax(1) == labels).mean() >= (probs.argmax(1) == labels).mean() - 0.01
    assert np.allclose(apply_prior(probs, even, even), probs)
    assert estimate_prior(probs[:0], even, 10).tolist() == [0.5, 0.5]


def test_few_labels_cannot_move_the_proportions_far():
    sharp = np.tile([0.99, 0.01], (500, 1))
    even = np.array([0.5, 0.5])
    assert estimate_prior(sharp, even, 3)[0] < estimate_prior(sharp, even, 300)[0]
    assert estimate_prior(sharp, even, 3)[0] < 0.75


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_0", "none")


def taught(backbone, apart: float, **settings) -> tuple:
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
    trainer = Trainer(data, [], config, backbone, "head", History())
    trainer.take_features(features[None, :120], features[120:], folds)
    appearance = np.random.default_rng(0).random((120, 27))
    learned = learn(data, appearance, trainer, folds, config, silent)
    return learned, features[120:], labels[120:]


def test_self_training_joins_sure_images_and_stays_only_where_held_out_labels_gain(backbone):
    alone, _, _ = taught(backbone, 0.1, train__self_training=0, augment__views="allowed")
    joined, _, _ = taught(backbone, 0.1, train__self_training=3, augment__views="allowed")
    record = joined.decisions["self_training"]
    assert record["rounds"] >= 1
    assert 100 < record["joined"] <= 200
    assert joined.calibration.log_likelihood > alone.calibration.log_likelihood
    assert alone.decisions["self_training"]["rounds"] == 0


def test_nothing_joins_where_no_error_can_be_promised(backbone):
    """Classes that cannot be told apart: no image of the pool is sure enough to teach."""
    learned, _, _ = taught(backbone, 0.0, augment__views="allowed")
    assert learned.decisions["self_training"]["rounds"] == 0
    assert "could be promised" in learned.decisions["self_training"]["why"]
    assert 0.2 < learned.calibration.correct.mean() < 0.8


def test_one_split_keeps_all_labelled_images_as_exemplars(backbone):
    """After self-training too: a new image may be compared with what was held out."""
    learned, _, _ = taught(backbone, 0.1, train__folds=1, augment__views="allowed",
                           assign__max_error=0.3)  # fmt: skip
    assert learned.decisions["self_training"]["rounds"] >= 1
    assert len(learned.scorer.gallery.labels) == 120
    assert len(learned.calibration.labels) < 60


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=8, max_size=40))
def test_no_patient_is_on_both_sides_of_a_fold(images):
    groups, labels = np.array(images).T
    labels = np.unique(labels, return_inverse=True)[1]
    classes = [f"class {c}" for c in range(labels.max() + 1)]
    rows = pd.DataFrame({"image": [f"{i}.png" for i in range(len(images))], "split": None,
                         "image_id": [f"{i:016x}" for i in range(len(images))],
                         "group": [f"patient {g}" for g in groups],
                         "label": [classes[c] for c in labels]})  # fmt: skip
    data = Labelled(rows, np.zeros((len(rows), 1, 1, 3), np.uint8), labels, groups, classes)
    try:
        folds, _ = held_out_folds(data, Config(), "head")
    except DataError:
        return
    for fold in range(folds.max() + 1):
        test = folds == fold
        assert not set(groups[test]) & set(groups[~test])
        assert set(labels[test]) <= set(labels[~test])


def test_unlabelled_images_of_labelled_patients_do_not_teach(sample, config, tmp_path):
    """A held-out patient with own images in the pool would be easier than a new one."""
    table = pd.read_csv(sample / "labels.csv")
    groups = sorted(table["group"].unique())
    table.loc[table.index[::3], "label"] = ""
    fresh = table[table["group"] == groups[0]].index
    table.loc[fresh, "label"] = ""
    (tmp_path / "l.csv").write_text(table.to_csv(index=False))
    run = fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
              run=tmp_path / "run")  # fmt: skip
    assert run.info["decisions"]["pool"] == len(fresh)
    assert run.info["data"]["unlabelled"] > len(fresh)


def test_each_encoder_sees_the_pool_with_its_own_eyes(sample):
    encoders = [load_backbone("resnet18", "none").encoder for _ in range(2)]
    networks = Networks(encoders[0], torch.nn.Identity(), torch.nn.Sequential(), encoders[1])
    places = [(str(p), None) for p in sorted(sample.rglob("*.png"))[:3]]
    found = embed_paths(networks, [*places, ("nowhere.png", None)], ImageConfig(size=48), "cpu")
    assert found.classifier.shape == found.siamese.shape == (3, 2 * encoders[0].channels)
    assert not torch.allclose(found.classifier, found.siamese)
    assert embed_paths(networks, [("nowhere.png", None)], ImageConfig(size=48), "cpu") is None
