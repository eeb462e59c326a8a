"""Novelty: p-values of the combined score, and what is found by features or appearance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from clusterkit.data.appearance import measure_appearance
from clusterkit.methods.novelty import (
    AppearanceModel,
    ClassDistance,
    NoveltyModel,
    combine,
    novelty_p_values,
    tail_cluster_size,
    untestable_classes,
)


def test_novelty_p_values_are_uniform_or_larger_on_exchangeable_images():
    rng = np.random.default_rng(2)
    p_values = np.concatenate(
        [novelty_p_values(rng.normal(size=(20, 2)), rng.normal(size=(99, 2))) for _ in range(200)]
    )
    for level in (0.05, 0.1, 0.3):
        assert (p_values <= level).mean() <= level + 0.01


def test_appearance_sees_another_stain():
    rng = np.random.default_rng(0)
    images = rng.integers(90, 160, (40, 8, 8, 3)).astype(np.uint8)
    strange = images[:5].copy()
    strange[..., 1] = np.minimum(255, strange[..., 1] * 2)
    model = AppearanceModel.of(measure_appearance(images))
    assert (
        model.score(measure_appearance(strange)).min()
        > model.score(measure_appearance(images)).max()
    )


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


def test_each_class_of_bccd_left_out_is_found_by_its_appearance(real_data):
    from clusterkit.data.imageio.read import load_image, to_array

    folder = real_data / "bccd"
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


@given(st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5]), st.lists(st.integers(0, 25), min_size=1),
       st.integers(0, 99))  # fmt: skip
def test_a_class_is_testable_from_as_many_images_as_its_own_p_value_takes(alpha, counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    scores = np.random.default_rng(seed).normal(size=(len(labels), 2))
    if not len(labels):
        return
    found = untestable_classes(scores, labels, np.arange(len(labels)), len(counts), alpha)
    # 1 / (n + 1) <= alpha, as fractions.
    assert found.tolist() == [n + 1 < round(1 / alpha) for n in counts]


def test_images_of_few_groups_test_less_than_as_many_of_one_each():
    labels, scores = np.zeros(12, dtype=int), np.arange(12.0)[:, None]
    assert not untestable_classes(scores, labels, np.arange(12), 1, 0.1)[0]
    assert untestable_classes(scores, labels, np.repeat([0, 1], 6), 1, 0.1)[0]


def test_the_nearest_classes_are_told_by_either_score():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    features = torch.from_numpy(rng.normal(size=(80, 9)) + 8 * labels[:, None]).float()
    appearance = rng.normal(size=(80, 27)) - 8 * labels[:, None]
    model = NoveltyModel.of(features, appearance, labels)
    scores, classes = model.compare(features, appearance[::-1])
    assert classes.tolist() == np.column_stack([labels, labels[::-1]]).tolist()
    assert np.array_equal(scores, model.score(features, appearance[::-1]))
