"""Blocks of a large batch: sizes, groups, and that a held-out image is scored as others are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.batch_blocks import BatchBlocks

GROUPS = st.lists(st.sampled_from(["", "", "a", "b", "c", "d"]), min_size=1, max_size=60)


@settings(deadline=None)
@given(GROUPS, st.lists(st.integers(0, 5), max_size=20), st.integers(1, 70), st.integers(0, 9))
def test_sizes_and_groups(names, units, most, seed):
    groups, units = np.array(names, dtype=object), np.array(units, dtype=int)
    found = BatchBlocks.drawn(groups, units, most, seed)
    assert found.count == -(-len(groups) // most)
    sizes = np.bincount(found.images, minlength=found.count)
    assert sizes.max() <= most
    assert sizes.max() - sizes.min() <= 1
    # A block has two ends, so that few groups are in several; no unit is.
    blocks = [set(found.images[groups == name]) for name in set(names) - {""}]
    assert sum(len(own) - 1 for own in blocks) <= found.count - 1
    assert all(len(set(found.held_out[units == unit])) == 1 for unit in set(units.tolist()))
    again = BatchBlocks.drawn(groups, units, most, seed)
    np.testing.assert_array_equal(found.images, again.images)
    np.testing.assert_array_equal(found.held_out, again.held_out)
    own = np.stack([images for images, _ in found])
    assert (own.sum(axis=0) == 1).all()


def test_one_block_draws_nothing():
    found = BatchBlocks.drawn(np.array([""] * 9, dtype=object), np.arange(4), 9, 0)
    assert (found.count, found.images.any(), found.held_out.any()) == (1, False, False)


def test_every_block_is_as_likely_for_images_as_for_held_out_ones():
    groups = np.array(["a", "a", *[""] * 8], dtype=object)
    drawn = [BatchBlocks.drawn(groups, np.array([0, 0, 1, 2]), 4, seed) for seed in range(600)]
    for numbers in (np.stack([d.images for d in drawn]), np.stack([d.held_out for d in drawn])):
        shares = np.stack([(numbers == block).mean(axis=0) for block in range(3)])
        # Five standard deviations of a share in 600 draws, and blocks of 4, 3 and 3.
        assert np.abs(shares - 1 / 3).max() < 0.1 + 1 / 15
