"""What is asked next, and which answers count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.asking import counted_losses, next_to_ask, states_of

OPEN = np.nan


def test_answers_count_up_to_the_first_open_one_of_the_set():
    member = np.array([1, 0, 0, 2, 0])
    losses = np.array([OPEN, 0, 1, 0, OPEN])
    assert counted_losses(member, losses, 0).tolist() == [0, 1]
    assert counted_losses(member, losses, 1).tolist() == []
    losses[0] = 1
    assert counted_losses(member, losses, 1).tolist() == [1, 0, 1]
    assert counted_losses(member, losses, 2).tolist() == [1, 0, 1, 0]
    assert counted_losses(np.array([1, 1]), np.zeros(2), 0).tolist() == []


def test_a_unit_loses_the_mean_over_its_images_in_the_set():
    units = np.array(["b", "b", "b", "a", "a"])
    member = np.array([0, 1, 0, 1, 0])
    losses = np.array([1, OPEN, 0, OPEN, 0])
    assert counted_losses(member, losses, 0, units).tolist() == [0.5, 0]
    # Of the larger set an image of the first unit is open.
    assert counted_losses(member, losses, 1, units).tolist() == []
    losses[1] = 1
    assert counted_losses(member, losses, 1, units).tolist() == [pytest.approx(2 / 3)]
    with pytest.raises(ValueError, match="one after the other"):
        counted_losses(member, losses, 1, np.array(["a", "b", "a", "c", "c"]))


def test_the_first_open_image_of_the_first_set_that_is_not_certified_is_asked():
    member = np.array([2, 0, 1, 0, 1])
    losses = np.full(5, OPEN)
    assert next_to_ask(member, losses, [False, False, False]) == 1
    assert next_to_ask(member, losses, [True, False, False]) == 1
    losses[[1, 3]] = 0
    # All of the first set are answered: the next.
    assert next_to_ask(member, losses, [False, False, False]) == 2
    assert next_to_ask(member, losses, [True, True, False]) == 0
    losses[[0, 2]] = 0
    assert next_to_ask(member, losses, [False, False, False]) == 4
    losses[4] = 1
    assert next_to_ask(member, losses, [False, False, False]) is None
    assert next_to_ask(member, np.full(5, OPEN), [True, True, True]) is None


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_whatever_is_asked_no_answer_counts_that_the_full_order_would_not(seed, size):
    """In whatever order answers come, those that count are a prefix of the set's own order."""
    rng = np.random.default_rng(seed)
    units = np.repeat(rng.permutation(20), size)
    member, truth = rng.integers(0, 3, len(units)), rng.integers(0, 2, len(units)).astype(float)
    losses = np.full(len(units), OPEN)
    before = [0, 0, 0]
    for rank in rng.permutation(len(units)):
        losses[rank] = truth[rank]
        for j in range(3):
            counted = counted_losses(member, losses, j, units)
            whole = counted_losses(member, truth, j, units)
            assert counted.tolist() == whole[: len(counted)].tolist()
            assert len(counted) >= before[j]
            before[j] = len(counted)
    assert before == [len(np.unique(units[member <= j])) for j in range(3)]


def test_asking_goes_upward_until_all_is_certified():
    rng = np.random.default_rng(3)
    member = rng.permutation(np.repeat([0, 1, 2], [300, 100, 100]))
    populations, losses, asked = [300, 400, 500], np.full(500, OPEN), []
    while True:
        states = states_of(member, losses, populations, 0.05, 0.9)
        rank = next_to_ask(member, losses, [state.certified for state in states])
        if rank is None:
            break
        asked.append(rank)
        losses[rank] = 0
    assert all(state.certified for state in states)
    assert len(set(asked)) == len(asked)
    # One set after the other, and the answers of the first serve the others.
    first = [member[rank] for rank in asked]
    assert first[:40] == [0] * 40
    assert len(asked) < 75
