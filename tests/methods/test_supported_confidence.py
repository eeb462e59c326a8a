"""No confidence is shown that held-out images do not bear out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.supported_confidence import SupportedConfidence


@settings(deadline=None)
@given(n=st.integers(0, 60), seed=st.integers(0, 10_000), levels=st.integers(1, 12))
def test_order_is_kept_and_nothing_is_raised(n, seed, levels):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, levels, n) / max(1, levels - 1)
    correct, weights = rng.random(n) < 0.8, rng.uniform(0.1, 1, n)
    held, asked = SupportedConfidence(confidence, correct, weights), np.sort(rng.random(40))
    shown = held(asked)
    assert (shown <= asked).all()
    assert (np.diff(shown) >= 0).all()
    for value, found in zip(asked, shown, strict=True):
        at = [0.0, *confidence[confidence <= value]]
        best = max((weights[correct & (confidence >= t)].sum() + 1)
                   / (weights[confidence >= t].sum() + 2) for t in at)  # fmt: skip
        assert found == pytest.approx(min(value, best))


@pytest.mark.parametrize("n", [5, 20, 80])
def test_the_surest_are_right_as_often_as_is_shown(n):
    """Scores that are far too sure: 99.99% where 92% are right."""
    rng, right, shown = np.random.default_rng(0), [], []
    for _ in range(4000):
        held = SupportedConfidence(np.full(n, 0.9999), rng.random(n) < 0.92, np.ones(n))
        shown.append(float(held(np.array([0.9999]))[0]))
        right.append(rng.random() < 0.92)
    assert np.mean(right) / np.mean(shown) >= 0.98
