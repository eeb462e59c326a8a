"""Novelty and clusters: what the statistics promise, and that the classes left out are found."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, roc_auc_score

from clusterkit.data.appearance import measure_appearance
from clusterkit.methods.clustering import cluster_refused, cluster_space
from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.novelty import (
    AppearanceModel,
    ClassDistance,
    NoveltyModel,
    combine,
    novelty_p_values,
    tail_cluster_size,
)

# --- p-values -----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 40, 200])
@pytest.mark.parametrize("heavy", [False, True])
def test_p_values_of_the_joined_score_are_uniform_or_larger(n, heavy):
    rng = np.random.default_rng(n)
    found = []
    for _ in range(400):
        scores = rng.normal(size=(n + 20, 2)) @ np.array([[1, 0.5], [0, 1]])
        scores = np.sign(scores) * np.abs(scores) ** 1.5 if heavy else scores
        found.append(novelty_p_values(scores[n:], scores[:n]))
    p_values = np.concatenate(found)
    assert p_values.min() > 0
    assert p_values.max() <= 1
    for level in (0.05, 0.1, 0.3):
        # Three standard errors of 400 independent calibrations.
        error = 3 * np.sqrt(level * (1 - level) * (1 / n + 1 / 20) / 400)
        assert (p_values <= level).mean() <= level + error


def test_false_discoveries_stay_below_alpha_with_groups():
    rng = np.random.default_rng(0)
    alpha, false, power = 0.1, [], []

    def images(groups):
        centre = rng.normal(size=(groups, 2))
        return (centre[:, None] + rng.normal(size=(groups, 4, 2))).reshape(-1, 2)

    for _ in range(200):
        held_out, known, novel = images(25), images(50), rng.normal(8, 1, (100, 2))
        p = novelty_p_values(np.r_[known, novel], held_out, np.repeat(np.arange(25), 4))
        called = benjamini_hochberg(p, alpha)
        false.append(called[:200].sum() / max(1, called.sum()))
        power.append(called[200:].mean())
    assert np.mean(false) <= alpha
    assert np.mean(power) > 0.9


def test_images_of_identical_groups_count_as_one_each():
    scores, units = np.repeat(np.arange(10.0), 5), np.repeat(np.arange(10), 5)
    assert tail_cluster_size(scores, units) == 5
    p = novelty_p_values(np.array([[100.0]]), scores[:, None], units)
    assert p[0] == pytest.approx(1 / 11)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_p_values_fall_where_every_score_rises(seed, held_out, kinds):
    rng = np.random.default_rng(seed)
    known, scores = rng.normal(size=(held_out, kinds)), rng.normal(size=(20, kinds))
    units = rng.integers(0, 5, held_out)
    low, high = (novelty_p_values(s, known, units) for s in (scores, scores + 1))
    assert (high <= low).all()
    assert (low > 0).all()
    assert (low <= 1).all()
    shuffled = rng.permutation(held_out)
    again = novelty_p_values(scores, known[shuffled], units[shuffled])
    # Of equal scores at the edge of the tail either may count, which shifts its groups.
    assert np.allclose(again, low) or len(np.unique(known)) < known.size


def test_leaving_an_image_out_is_what_combine_computes():
    held_out = np.random.default_rng(0).normal(size=(12, 2))
    for i in range(12):
        others = np.delete(held_out, i, axis=0)
        alone = combine(held_out[i : i + 1], others)[0]
        assert combine(held_out, held_out)[1][i] == pytest.approx(alone[0])


# --- scores -------------------------------------------------------------------------------


def test_appearance_by_definition():
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3)).astype(np.uint8)
    found = measure_appearance(images)
    assert found.shape == (70, 27)
    assert found.dtype == np.float32
    image = images[66].astype(float) / 255
    assert np.allclose(found[66, 6:9], image.mean(axis=(0, 1)), atol=1e-5)
    small = image.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    rough = (np.diff(small, axis=0) ** 2).mean((0, 1)) + (np.diff(small, axis=1) ** 2).mean((0, 1))
    assert np.allclose(found[66, 15:18], np.log(rough + 1e-5), atol=1e-4)
    assert measure_appearance(images[:0]).shape == (0, 27)


def test_class_distance_is_by_the_spread_of_the_nearest_class():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(0, [5, 1], (500, 2)), rng.normal([40, 0], [1, 1], (500, 2))
    distance = ClassDistance.of(np.r_[wide, narrow], np.repeat([0, 1], 500))
    beside_wide, beside_narrow = distance(np.array([[10.0, 0], [50.0, 0]]))
    assert beside_wide < 6
    assert beside_narrow > 60
    assert distance(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 1], [0, 0, 0, 0]])
@pytest.mark.parametrize("identical", [False, True])
def test_scores_of_few_or_identical_images_are_finite(labels, identical):
    rng = np.random.default_rng(0)
    features, appearance = torch.from_numpy(rng.normal(size=(4, 50))).float(), rng.random((4, 27))
    if identical:
        features, appearance = features[:1].repeat(4, 1), appearance[:1].repeat(4, axis=0)
    model = NoveltyModel.of(features, appearance, np.array(labels))
    scores = model.score(features + 1, appearance + 0.1)
    assert scores.shape == (4, 2)
    assert np.isfinite(scores).all()
    assert (scores > model.score(features, appearance)).all() or not identical


def test_class_left_out_is_found_in_features_or_in_appearance():
    rng = np.random.default_rng(0)
    centres, looks_of = rng.normal(0, 3, (2, 60)), rng.normal(0, 0.02, (2, 27))

    def draw(n, features, appearance):
        points = features + rng.normal(size=(n, 60))
        return torch.from_numpy(points).float(), appearance + rng.normal(0, 0.02, (n, 27))

    labels = np.repeat([0, 1], 40)
    features, appearance = draw(80, centres[labels], looks_of[labels])
    held = rng.permutation(80)[:40]
    kept = np.setdiff1d(np.arange(80), held)
    model = NoveltyModel.of(features[kept], appearance[kept], labels[kept])
    held_out = model.score(features[held], appearance[held])
    known = model.score(*draw(80, centres[labels], looks_of[labels]))
    for strange in ((centres.mean(axis=0), looks_of[0]), (centres[0], looks_of[0] + 0.1)):
        novel = model.score(*draw(40, *strange))
        p = novelty_p_values(np.r_[known, novel], held_out)
        assert roc_auc_score(np.repeat([0, 1], [80, 40]), -p) > 0.9


def test_appearance_sees_another_stain_and_another_sharpness():
    rng = np.random.default_rng(0)
    images = rng.integers(90, 160, (60, 32, 32, 3)).astype(np.uint8)
    model = AppearanceModel.of(measure_appearance(images[:40]))
    stain, smooth = images[40:50].copy(), images[40:50].copy()
    stain[..., 1] = np.minimum(255, stain[..., 1] * 1.5)
    smooth[:, 1::2] = smooth[:, ::2]
    known = model.score(measure_appearance(images[50:]))
    for strange in (stain, smooth):
        assert model.score(measure_appearance(strange)).min() > known.max()


# --- clusters -----------------------------------------------------------------------------


def test_clusters_of_none_one_two_and_identical_images():
    assert cluster_refused(np.zeros((0, 3)), 5, 2).tolist() == []
    assert cluster_refused(np.zeros((1, 3)), 5, 2).tolist() == [0]
    assert cluster_refused(np.eye(2), 5, 2).tolist() == [0, 1]
    assert cluster_refused(np.eye(2), 2, 2).tolist() == [0, 1]
    assert cluster_refused(np.zeros((2, 3)), 5, 2).tolist() == [0, 0]
    assert cluster_refused(np.zeros((30, 3)), 5, 2).tolist() == [0] * 30


@given(st.integers(0, 500), st.integers(1, 60), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_clusters_do_not_depend_on_the_order_and_keep_copies_together(seed, n, classes):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    points = np.r_[points, points[: n // 2]]
    found = cluster_refused(points, 5, classes)
    assert (found[n:] == found[: n // 2]).all()
    counts = np.bincount(found)
    assert (counts > 0).all()
    assert (np.diff(counts) <= 0).all()
    order = rng.permutation(len(points))
    again = cluster_refused(points[order], 5, classes)
    assert adjusted_mutual_info_score(again, found[order]) == pytest.approx(1)


def test_clusters_find_classes_and_one_that_nobody_labelled():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [6, 0, 0], [0, 0, 8.0]])
    # The second axis is wide within every class, and says nothing.
    spread = np.array([1, 15, 1])
    labels, true = np.repeat([0, 1], 30), np.repeat([0, 1, 2], 60)
    labelled = centres[labels] + spread * rng.normal(size=(60, 3))
    points = centres[true] + spread * rng.normal(size=(180, 3))
    space = cluster_space(points, np.full((180, 2), 0.5), labelled, labels)
    found = cluster_refused(space, 5, 2)
    of_cluster = [np.bincount(true[found == c]).max() for c in np.unique(found)]
    assert sum(of_cluster) / 180 > 0.95
    assert adjusted_mutual_info_score(true, found) > 0.7


def test_assigned_images_show_where_the_known_classes_are():
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 60)
    points = 6 * np.eye(3)[true] + rng.normal(size=(180, 3))
    # All of the unknown class, and a few of the known ones.
    refused = (true == 2) | (np.arange(180) % 20 == 0)
    found = cluster_refused(points, 5, 2, refused)
    assert len(found) == refused.sum()
    assert (found[true[refused] == 2] == 0).mean() > 0.9
    assert not set(found[true[refused] < 2]) & set(found[true[refused] == 2])


def test_many_images_are_clustered_in_little_memory():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 8000)
    points = 10 * np.eye(4)[true] + rng.normal(size=(8000, 4))
    assert adjusted_mutual_info_score(true, cluster_refused(points, 5, 2)) > 0.99


# --- real images --------------------------------------------------------------------------


@pytest.mark.skipif("CLUSTERKIT_DATA" not in os.environ, reason="CLUSTERKIT_DATA is not set")
def test_each_class_of_bccd_left_out_is_found_by_its_appearance():
    from clusterkit.data.imageio.read import load_image, to_array

    folder = Path(os.environ["CLUSTERKIT_DATA"]) / "bccd"
    classes = ("Platelets", "RBC", "WBC")
    images, labels = [], np.repeat(np.arange(3), 60)
    for name in classes:
        for path in sorted((folder / name).iterdir())[:60]:
            images.append(to_array(load_image(path), 128, "squish"))
    appearance = measure_appearance(np.stack(images))
    for left in range(3):
        known = np.flatnonzero(labels != left)
        train, test = known[::2], known[1::2]
        model = AppearanceModel.of(appearance[train], labels[train])
        held_out, new = model.score(appearance[test]), model.score(appearance[labels == left])
        truth = np.repeat([0, 1], [len(held_out), len(new)])
        assert roc_auc_score(truth, np.r_[held_out, new]) > 0.9
