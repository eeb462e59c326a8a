"""Class proportions of a batch, estimated and applied."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.label_shift import apply_prior, estimate_prior


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.floats(0.1, 0.9))
def test_label_shift_is_found_and_undone(seed, share):
    rng = np.random.default_rng(seed)
    labels = (rng.random(2000) < share).astype(int)
    x = rng.normal(size=2000) + 3.0 * labels - 1.5
    # The posterior under equal proportions of two unit normals 3 apart.
    probs = 1 / (1 + np.exp(-3.0 * x))
    probs, even = np.stack([1 - probs, probs], 1), np.array([0.5, 0.5])
    found = estimate_prior(probs, even, 500)
    assert found[1] == pytest.approx(share, abs=0.06)
    shifted = apply_prior(probs, even, found)
    assert np.allclose(shifted.sum(1), 1)
    assert (shifted.argmax(1) == labels).mean() >= (probs.argmax(1) == labels).mean() - 0.01
    assert np.allclose(apply_prior(probs, even, even), probs)
    assert estimate_prior(probs[:0], even, 10).tolist() == [0.5, 0.5]


def test_few_labels_cannot_move_the_proportions_far():
    sharp = np.tile([0.99, 0.01], (500, 1))
    even = np.array([0.5, 0.5])
    assert estimate_prior(sharp, even, 3)[0] < estimate_prior(sharp, even, 300)[0]
    assert estimate_prior(sharp, even, 3)[0] < 0.75
