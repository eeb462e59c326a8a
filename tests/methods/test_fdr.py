"""False discovery rate: Benjamini and Hochberg's procedure."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.novelty import novelty_p_values


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40), st.floats(0.01, 0.5))
def test_benjamini_hochberg_against_its_definition(p_values, alpha):
    ranked, n = sorted(p_values), len(p_values)
    passing = [i for i in range(n) if ranked[i] <= alpha * (i + 1) / n]
    limit = ranked[passing[-1]] if passing else -1
    assert benjamini_hochberg(np.array(p_values), alpha).tolist() == [p <= limit for p in p_values]


def test_false_discoveries_stay_below_alpha_with_groups():
    rng = np.random.default_rng(0)
    alpha, false, power = 0.1, [], []

    def images(groups):
        centre = rng.normal(size=(groups, 2))
        return (centre[:, None] + rng.normal(size=(groups, 4, 2))).reshape(-1, 2)

    for _ in range(200):
        held_out, known, novel = images(25), images(50), rng.normal(8, 1, (100, 2))
        p = novelty_p_values(np.r_[known, novel], held_out, np.repeat(np.arange(25), 4))
        called = benjamini_hochberg(p, alpha)
        false.append(called[:200].sum() / max(1, called.sum()))
        power.append(called[200:].mean())
    assert np.mean(false) <= alpha
    assert np.mean(power) > 0.9
