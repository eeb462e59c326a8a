"""Nested sets: a partition by confidence alone, told by the lowest one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.nested_sets import nested_sets

confidences = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.9, 1.0])), min_size=1, max_size=300
).map(np.array)


@given(confidences, st.sampled_from([0.02, 0.05, 0.5]), st.randoms(use_true_random=False))
def test_sets_are_nested_and_told_by_their_lowest_confidence(confidence, error, random):
    last = np.array([random.random() < 0.2 for _ in confidence])
    sets = nested_sets(confidence, error, last)
    n = len(confidence)
    assert (np.diff(sets.sizes) > 0).all()
    assert sets.sizes[-1] == n
    assert len(sets) == len(sets.sizes) == len(sets.least_confidence)
    for j, size in enumerate(sets.sizes):
        inside = sets.member <= j
        assert inside.sum() == size
        assert confidence[inside].min() == sets.least_confidence[j]
        # Whoever is outside is less sure, or is one of those that come last.
        front = inside & ~last
        if (~inside & ~last).any():
            assert not (inside & last).any()
            assert confidence[~inside & ~last].max() < confidence[front].min()
        elif (~inside).any() and (inside & last).any():
            assert confidence[~inside].max() < confidence[inside & last].min()


@given(confidences, st.sampled_from([0.02, 0.1]))
def test_the_order_of_the_labels_has_no_part_in_it(confidence, error):
    mixed = np.random.default_rng(1).permutation(len(confidence))
    there, back = nested_sets(confidence, error), nested_sets(confidence[mixed], error)
    assert (there.member[mixed] == back.member).all()
    assert (there.sizes == back.sizes).all()


def test_first_set_is_the_largest_that_is_expected_to_hold():
    confidence = np.linspace(1, 0.9, 2000)
    sets = nested_sets(confidence, 0.1)
    expected = np.cumsum(1 - confidence) / np.arange(1, 2001)
    first = int(sets.sizes[0])
    assert expected[first - 1] <= 0.05 * 0.1 < expected[first]
    steps = sets.sizes[1:] / sets.sizes[:-1]
    assert (steps <= 1.16).all()


def test_labels_of_one_confidence_are_in_one_set():
    sets = nested_sets(np.full(500, 0.7), 0.05)
    assert sets.sizes.tolist() == [500]
    assert (sets.member == 0).all()
    ties = nested_sets(np.repeat([0.99, 0.8, 0.6], [70, 100, 30]), 0.05)
    assert ties.sizes.tolist() == [70, 170, 200]


def test_one_label_is_a_set():
    sets = nested_sets(np.array([0.3]), 0.05)
    assert sets.sizes.tolist() == [1]
    assert sets.least_confidence.tolist() == [0.3]


def test_those_that_come_last_do():
    confidence = np.r_[np.full(100, 0.9), np.full(50, 0.95)]
    last = np.arange(150) >= 100
    sets = nested_sets(confidence, 0.05, last)
    assert (sets.member[~last] == 0).all()
    assert (sets.member[last] == 1).all()
    assert sets.least_confidence.tolist() == [0.9, 0.9]


def test_a_confidence_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="confidence"):
        nested_sets(np.array([0.9, np.nan]), 0.05)
