"""Prediction sets: coverage, marginal and per class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.prediction_sets import (
    class_set_thresholds,
    classes_in_every_set,
    crossed_coverage,
    images_needed,
    label_sets,
    set_threshold,
)


def random_probs(seed: int, n: int, k: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n)


def test_label_sets_hold_the_true_label_as_often_as_said():
    """Split-conformal coverage over 300 draws lies in its exact range."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        probs = rng.dirichlet(np.ones(4), size=150)
        labels = np.array([rng.choice(4, p=p) for p in probs])
        true = probs[np.arange(150), labels]
        sets = label_sets(probs[100:], set_threshold(true[:100], 0.9))
        covered.append(sets[np.arange(50), labels[100:]].mean())
    assert 0.89 <= np.mean(covered) <= 0.93


def test_label_sets_hold_a_rare_class_as_often_as_a_common_one():
    rng = np.random.default_rng(4)
    covered, marginal = [], []
    for _ in range(200):
        labels = (rng.random(600) < 0.1).astype(int)
        # The rare class looks like the common one more often than not.
        x = rng.normal(size=600) + 1.2 * labels
        probs = 1 / (1 + np.exp(-(1.2 * x - 3)))
        probs = np.stack([1 - probs, probs], 1)
        true = probs[np.arange(600), labels]
        known, rare = slice(0, 300), np.flatnonzero(labels[300:] == 1) + 300
        thresholds = class_set_thresholds(true[known], labels[known], 2, 0.9)
        covered += list(label_sets(probs[rare], thresholds)[:, 1])
        marginal += list(label_sets(probs[rare], set_threshold(true[known], 0.9))[:, 1])
    assert np.mean(covered) >= 0.88
    assert np.mean(marginal) < 0.7


def test_many_rare_classes_do_not_lower_the_level_of_label_sets():
    """Classes with too few images for a threshold of their own share one, of theirs alone."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple:
        labels = np.where(rng.random(n) < 0.85, rng.integers(0, 2, n), rng.integers(2, 7, n))
        true = np.where(labels < 2, rng.uniform(0.35, 1, n), rng.uniform(0, 0.2, n))
        probs = np.zeros((n, 7))
        probs[np.arange(n), np.where(labels < 2, 1 - labels, 0)] = 1 - true
        probs[np.arange(n), labels] = true
        return probs, labels, true

    covered = []
    for _ in range(100):
        _, labels, true = draw(100)
        probs, truth, _ = draw(500)
        sets = label_sets(probs, class_set_thresholds(true, labels, 7, 0.9))
        covered.append(sets[np.arange(500), truth].mean())
    assert np.mean(covered) >= 0.89


def test_reported_coverage_is_that_of_new_images():
    rng = np.random.default_rng(8)
    probs = rng.dirichlet(np.ones(4), size=600)
    labels = np.array([rng.choice(4, p=p) for p in probs])
    coverage, size = crossed_coverage(probs, labels, np.arange(600), 0.9)
    assert coverage == pytest.approx(0.9, abs=0.04)
    assert 1 < size < 4
    # One unit: nothing can be measured apart, and all classes are in every set.
    assert crossed_coverage(probs, labels, np.zeros(600, dtype=int), 0.9) == (1.0, 4.0)


def test_label_sets_of_few_images_hold_everything():
    assert label_sets(random_probs(0, 3, 4), set_threshold(np.full(5, 0.9), 0.9)).all()


@given(st.floats(0.01, 0.999))
def test_images_needed_are_the_fewest_that_leave_a_class_out(level):
    n = images_needed(level)
    assert set_threshold(np.full(n, 0.5), level) == 0.5
    assert set_threshold(np.full(n - 1, 0.5), level) == 0


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.floats(0.5, 0.99))
def test_classes_in_every_set_are_those_whose_threshold_is_nought(counts, level):
    labels = np.repeat(np.arange(len(counts)), counts)
    thresholds = class_set_thresholds(np.full(len(labels), 0.5), labels, len(counts), level)
    found = classes_in_every_set(labels, len(counts), level)
    assert found.tolist() == (thresholds == 0).tolist()
