"""May a step be taken? Units decide by their mean; leniently, few only against a clear loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.methods.held_out_verdict import verdict


@given(st.lists(st.floats(-2, 2), min_size=10, max_size=40))
def test_from_ten_units_on_the_mean_decides(gains):
    for found in (verdict(np.array(gains)), verdict(np.array(gains), lenient=True)):
        assert found.taken is bool(np.mean(gains) > 0)
        assert found.gain == pytest.approx(np.mean(gains))


@given(st.lists(st.floats(-2, 2), min_size=0, max_size=9))
def test_of_fewer_units_only_a_loss_is_heeded(gains):
    found = verdict(np.array(gains), lenient=True)
    assert found.taken or np.mean(gains) < 0
    assert verdict(np.array(gains)).taken is bool(gains and np.mean(gains) > 0)
    assert found.why
    # The more units say the same, the clearer it is.
    if len(gains) > 1 and np.std(gains) == 0:
        assert found.taken is bool(np.mean(gains) >= 0)


def test_one_unit_says_nothing_and_five_that_all_lose_say_no():
    assert verdict(np.array([-0.5]), lenient=True).taken
    assert not verdict(np.array([-0.5, -0.4, -0.5, -0.6, -0.5]), lenient=True).taken
    assert verdict(np.array([-0.5, 0.4, -0.1]), lenient=True).taken


def test_a_harmful_step_is_seldom_taken_and_a_good_one_seldom_refused():
    """Units that lose or gain a third of their spread, 1,000 draws of 5 and 40."""
    rng = np.random.default_rng(0)
    for n, refused, taken in ((5, 0.1, 0.9), (40, 0.95, 0.95)):
        harm = [verdict(rng.normal(-0.3, 1, n), lenient=True).taken for _ in range(1000)]
        good = [verdict(rng.normal(0.3, 1, n), lenient=True).taken for _ in range(1000)]
        assert 1 - np.mean(harm) >= refused
        assert np.mean(good) >= taken
