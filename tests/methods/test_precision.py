"""Precision: clear calls keep their label, close ones are found."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.precision import Precision
from clusterkit.models.forward import BFLOAT16, FLOAT32


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.3), st.integers(2, 5))
def test_clear_calls_keep_their_label_where_rounding_is_like_on_held_out_images(seed, noise, k):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (400, k))
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    moved = np.exp(logits + rng.normal(0, noise, logits.shape))
    quick = moved / moved.sum(axis=1, keepdims=True)
    found = Precision.compared(BFLOAT16, quick[:200], plain[:200])
    clear = ~found.is_close(quick[200:])
    other = (quick[200:].argmax(axis=1) != plain[200:].argmax(axis=1)) & clear
    assert other.mean() <= 0.005
    assert found.agrees == (found.close_share <= 0.03 and found.other_labels <= 1)
    same = Precision.compared(BFLOAT16, plain, plain)
    assert (same.close, same.other_labels, same.agrees) == (0.0, 0, True)
    assert not Precision(FLOAT32).is_close(np.full((3, k), 1 / k)).any()


def test_too_noisy_a_precision_is_not_taken():
    rng = np.random.default_rng(0)
    plain = rng.dirichlet(np.full(3, 20.0), 200)
    quick = rng.dirichlet(np.full(3, 20.0), 200)
    assert not Precision.compared(BFLOAT16, quick, plain).agrees
