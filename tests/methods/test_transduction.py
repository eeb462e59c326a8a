"""Transduction: neighbours in the batch help where held-out labels gain, and only there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.risk_control import choose_threshold
from clusterkit.methods.transduction import SHARES, refine, spread_probs


def clusters(seed, n, k=3, right=0.75):
    """Points in k tight clusters, and the noisy probabilities of a classifier."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    points = np.eye(k)[labels] + rng.normal(0, 0.15, (n, k))
    said = np.where(rng.random(n) < right, labels, rng.integers(0, k, n))
    probs = 0.6 * np.eye(k)[said] + 0.4 / k
    return points, probs, labels


def shuffled_points(points, seed):
    return np.random.default_rng(seed).permutation(points)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(2, 5),
    st.sampled_from(SHARES),
    st.integers(0, 99),
    st.booleans(),
)
def test_spread_probabilities_are_probabilities(n, k, share, seed, copies):
    rng = np.random.default_rng(seed)
    points = np.zeros((n, 4)) if copies else rng.normal(size=(n, 4))
    probs = rng.dirichlet(np.ones(k), n)
    spread = spread_probs(points, probs, share)
    assert (spread >= 0).all()
    np.testing.assert_allclose(spread.sum(axis=1), 1)
    # Nobody is surer of a class than the surest was.
    assert (spread.max(axis=0) <= probs.max(axis=0) + 1e-12).all()


def test_an_image_alone_keeps_its_probabilities():
    probs = np.array([[0.2, 0.8]])
    np.testing.assert_array_equal(spread_probs(np.ones((1, 3)), probs, 0.7), probs)


def test_neighbours_of_one_kind_mend_labels():
    points, probs, labels = clusters(0, 600)
    found, refined, gain = refine(points, probs, labels[:200], np.arange(200))
    assert found is not None
    assert gain > 0
    before = (probs[200:].argmax(axis=1) != labels[200:]).mean()
    assert (refined[200:].argmax(axis=1) != labels[200:]).mean() < before / 4


def test_neighbours_that_tell_nothing_are_left_aside():
    used = 0
    for seed in range(20):
        points, probs, labels = clusters(seed, 300)
        points = shuffled_points(points, seed)
        found, refined, _ = refine(points, probs, labels[:60], np.arange(60))
        used += found is not None
        if found is None:
            np.testing.assert_array_equal(refined, probs)
    assert used <= 2


@pytest.mark.parametrize("units", [np.zeros(5, dtype=int), np.arange(5)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_small_and_uniform_batches(units, batch):
    probs = np.full((5 + batch, 2), 0.5)
    _, refined, _ = refine(np.ones((5 + batch, 3)), probs, np.zeros(5, dtype=int), units)
    np.testing.assert_allclose(refined.sum(axis=1), 1)
    assert refined.shape == probs.shape


def test_labels_of_held_out_images_do_not_reach_the_graph():
    """What the graph is told is the same whatever the labels are; they choose a few numbers."""
    points, probs, labels = clusters(1, 300)
    first, _, _ = refine(points, probs, labels[:100], np.arange(100))
    flipped = labels[:100].copy()
    flipped[0] = (flipped[0] + 1) % 3
    second, refined, _ = refine(points, probs, flipped, np.arange(100))
    assert first is not None
    assert second is not None
    assert first.share == second.share
    # The image whose label is another one is refined by weights that others' labels gave.
    _, before, _ = refine(points, probs, labels[:100], np.arange(100))
    np.testing.assert_array_equal(refined[0], before[0])


@pytest.mark.slow
@pytest.mark.parametrize("right", [0.75, 0.9])
def test_a_promise_holds_after_transduction(right):
    """Images of one draw: the error among the assigned is above E in no more than 1 of 10."""
    redraws, broken, max_error = 150, 0, 0.1
    for seed in range(redraws):
        points, probs, labels = clusters(seed, 500, right=right)
        points = points + np.random.default_rng(seed).normal(0, 0.35, points.shape)
        n = 80
        _, refined, _ = refine(points, probs, labels[:n], np.arange(n))
        confidence, said = refined.max(axis=1), refined.argmax(axis=1)
        correct = said == labels
        promise = choose_threshold(confidence[:n], correct[:n], np.arange(n), max_error, 0.9)
        if promise.threshold is not None:
            taken = confidence[n:] >= promise.threshold
            broken += taken.any() and (~correct[n:][taken]).mean() > max_error
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.09 / redraws)
