"""Gate: the smallest set of classes that reaches a probability."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.gate import gate_classes


def random_probs(seed: int, n: int, k: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n)


@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.05, 1.0), st.integers(1, 8))
def test_gate_is_the_smallest_set_that_reaches_the_mass(seed, k, mass, most):
    probs = random_probs(seed, 6, k)
    gate = gate_classes(probs, mass, most)
    for row, chosen in zip(probs, gate, strict=True):
        size = chosen.sum()
        assert 1 <= size <= most
        assert row[chosen].min() >= row[~chosen].max(initial=0)
        assert size in (most, k) or row[chosen].sum() >= mass - 1e-9
        if size > 1:
            assert np.sort(row[chosen])[1:].sum() < mass + 1e-9
