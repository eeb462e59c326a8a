"""Which unlabelled images join, and Brier scores of units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.pseudo_labels import choose_balanced
from clusterkit.methods.unit_likelihood import unit_brier_score

sizes = st.tuples(st.integers(0, 999), st.integers(0, 40), st.integers(1, 6), st.floats(0, 1))


def drawn(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and proportions of the classes."""
    rng = np.random.default_rng(seed)
    probs = rng.integers(1, 4, size=(n, k)).astype(float)
    return probs / probs.sum(axis=1, keepdims=True), rng.dirichlet(np.ones(k))


@settings(deadline=None)
@given(sizes)
def test_each_class_gives_its_part_of_the_share_and_no_more(drawing):
    seed, n, k, share = drawing
    probs, proportions = drawn(seed, n, k)
    rows = choose_balanced(probs, proportions, share)
    assert (np.diff(rows) > 0).all()
    for label in range(k):
        predicted = (probs.argmax(axis=1) == label).sum()
        wanted = round(share * n * proportions[label])
        assert (probs[rows].argmax(axis=1) == label).sum() == min(predicted, wanted)


@settings(deadline=None)
@given(sizes)
def test_the_likeliest_of_a_class_are_taken_and_of_equal_ones_the_first(drawing):
    seed, n, k, share = drawing
    probs, proportions = drawn(seed, n, k)
    taken = np.isin(np.arange(n), choose_balanced(probs, proportions, share))
    for label in range(k):
        of_label = np.flatnonzero(probs.argmax(axis=1) == label)
        order = sorted(of_label, key=lambda row: (-probs[row].max(), row))
        chosen = taken[order]
        assert (np.diff(chosen.astype(int)) <= 0).all()


@settings(deadline=None)
@given(sizes)
def test_a_larger_share_takes_all_of_a_smaller_one(drawing):
    seed, n, k, share = drawing
    probs, proportions = drawn(seed, n, k)
    few = choose_balanced(probs, proportions, share / 2)
    assert np.isin(few, choose_balanced(probs, proportions, share)).all()


def test_a_class_that_the_pool_lacks_gives_nothing_and_others_no_more():
    probs = np.repeat([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]], 6, axis=0)
    rows = choose_balanced(probs, np.full(3, 1 / 3), 0.5)
    assert rows.tolist() == [0, 1, 6, 7]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_pools_smaller_than_the_number_of_classes(n):
    rows = choose_balanced(np.full((n, 4), 0.25), np.full(4, 0.25), 0.8)
    assert len(rows) == 0
    assert choose_balanced(np.eye(4)[:n], np.array([1.0, 0, 0, 0]), 0.8).tolist() == [0][:n]


def test_a_unit_counts_once_and_one_sure_mistake_costs_no_more_than_two():
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    scores = unit_brier_score(probs, np.array([0, 1, 1]), np.array([7, 7, 9]))
    np.testing.assert_allclose(scores, [1.0, 0.5])
