"""Pairs of images: drawn ones, batches that hold both kinds, and all pairs of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.training.pairs import all_pairs, draw_pairs, mixed_batches, pair_weights


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


@st.composite
def batches(draw):
    labels = np.array(draw(st.lists(st.integers(0, 5), min_size=3, max_size=40)))
    return labels, draw(st.integers(3, len(labels)))


@given(batches(), st.integers(0, 999))
def test_batches_hold_both_kinds_of_pairs_whatever_the_classes(case, seed):
    labels, size = case
    dealt = mixed_batches(labels, size, np.random.default_rng(seed))
    assert dealt.shape == (len(labels) // size, size)
    sizes = np.bincount(labels)
    for batch in dealt:
        assert len(set(batch)) == size
        kinds = np.bincount(labels[batch])
        assert (kinds.max() > 1) == (sizes.max() > 1 or size > len(sizes))
        assert ((kinds > 0).sum() > 1) == ((sizes > 0).sum() > 1)


def test_most_images_meet_one_of_their_class():
    labels = np.repeat(np.arange(40), 6)
    dealt = labels[mixed_batches(labels, 16, np.random.default_rng(0))]
    alone = [np.mean(np.bincount(batch)[batch] == 1) for batch in dealt]
    assert np.mean(alone) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=9))
def test_loss_of_all_pairs_is_what_drawn_pairs_would_give_on_average(labels):
    """A naive loop over the article's draw: any image, either kind, a partner of that kind."""
    n, kinds = len(labels), {True: {}, False: {}}
    for i, own in enumerate(labels):
        others = sorted(set(labels) - {own})
        mates = [j for j in range(n) if labels[j] == own and j != i]
        for j in mates:
            kinds[True][i, j] = 1 / len(mates)
        for other in others:
            members = [j for j in range(n) if labels[j] == other]
            for j in members:
                kinds[False][i, j] = 1 / len(others) / len(members)
    present = [kind for kind in kinds.values() if kind]
    same, weights = pair_weights(torch.tensor(labels))
    first, second = all_pairs(n)
    for i, j, alike, weight in zip(*map(torch.Tensor.tolist, (first, second, same, weights)),
                                   strict=True):  # fmt: skip
        kind = kinds[labels[i] == labels[j]]
        assert alike == (labels[i] == labels[j])
        assert weight == pytest.approx(kind[i, j] / sum(kind.values()) / len(present), rel=1e-4)


def test_many_images_make_pairs_within_runs_of_32():
    first, second = all_pairs(70)
    assert len(first) == 2 * 32 * 31 + 6 * 5
    assert (first // 32 == second // 32).all()
    assert (first != second).all()
    labels = torch.arange(70) % 3
    assert pair_weights(labels)[1].sum().item() == pytest.approx(1, abs=1e-4)
