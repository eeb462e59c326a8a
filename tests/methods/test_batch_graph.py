"""What the images of a batch say of each other: the neighbours, and the student."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.batch_graph import Graph, geometric_mean, student_probs, surest


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 99), st.booleans())
def test_spread_probabilities_are_probabilities(n, k, seed, copies):
    rng = np.random.default_rng(seed)
    points = np.zeros((n, 4)) if copies else rng.normal(size=(n, 4))
    probs = rng.dirichlet(np.ones(k), n)
    spread = Graph(points).spread(probs)
    assert (spread >= 0).all()
    np.testing.assert_allclose(spread.sum(axis=1), 1)
    # Nobody is surer of a class than the surest was.
    assert (spread.max(axis=0) <= probs.max(axis=0) + 1e-12).all()


def test_an_image_alone_keeps_its_probabilities():
    probs = np.array([[0.2, 0.8]])
    np.testing.assert_array_equal(Graph(np.ones((1, 3))).spread(probs), probs)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(1, 6), st.integers(0, 99), st.floats(0.01, 1),
       st.integers(1, 50))  # fmt: skip
def test_the_surest_of_each_class_are_taken(n, k, seed, part, most):
    rng = np.random.default_rng(seed)
    probs, shares = rng.dirichlet(np.ones(k), n), rng.dirichlet(np.ones(k))
    rows, said = surest(probs, shares, part, n + 1)
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(said, probs[rows].argmax(axis=1))
    for label in range(k):
        called = np.flatnonzero(probs.argmax(axis=1) == label)
        taken, left = rows[said == label], np.setdiff1d(called, rows)
        assert len(taken) == min(len(called), round(part * shares[label] * n))
        if len(taken) and len(left):
            assert probs[taken, label].min() >= probs[left, label].max()
    fewer, _ = surest(probs, shares, part, most)
    assert set(fewer.tolist()) <= set(rows.tolist())
    assert len(fewer) <= 2 * most + k


def test_a_student_learns_what_the_surest_have_in_common():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    points = np.eye(2)[labels] * 3 + rng.normal(size=(300, 2))
    sure = rng.random(300) < 0.4
    said = np.where(sure | (rng.random(300) < 0.6), labels, 1 - labels)
    confidence = np.where(sure, 0.95, 0.6)[:, None]
    probs = np.where(np.eye(2)[said] > 0, confidence, 1 - confidence)
    student = student_probs(points, probs, np.full(300, -1), np.ones(2) / 2, 20)
    assert (student.argmax(axis=1) == labels).mean() > 0.95 > (said == labels).mean()


def test_a_student_without_a_class_learns_nothing():
    probs = np.tile([0.9, 0.1], (20, 1))
    points = np.random.default_rng(0).normal(size=(20, 3))
    student = student_probs(points, probs, np.full(20, -1), np.ones(2) / 2, 5)
    np.testing.assert_array_equal(student, probs)


def test_a_student_of_points_that_are_all_known_or_all_alike():
    probs, labels = np.tile([0.7, 0.3], (6, 1)), np.array([0, 1, 0, 1, 0, 1])
    points = np.ones((6, 3))
    same = student_probs(points, probs, labels, np.ones(2) / 2, 5)
    np.testing.assert_array_equal(same, probs)
    labels[4:] = -1
    student = student_probs(points, probs, labels, np.ones(2) / 2, 5)
    np.testing.assert_allclose(student.sum(axis=1), 1)


def test_the_mean_of_two_opinions_is_between_them():
    first, second = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(geometric_mean(first, second), [[0.75, 0.25]])
