"""Calibration errors: of all images, and of the surest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.calibration_error import calibration_error, top_bin_error


def test_the_top_bin_is_the_surest_fifteenth():
    rng = np.random.default_rng(0)
    confidence = rng.permutation(np.linspace(0, 1, 150))
    correct = rng.random(150) < confidence
    surest = np.argsort(confidence)[-10:]
    gap = abs(confidence[surest].mean() - correct[surest].mean())
    assert top_bin_error(confidence, correct) == pytest.approx(gap)


def test_a_score_that_is_sure_at_the_top_alone():
    confidence = np.r_[np.full(140, 0.5), np.full(10, 1.0)]
    correct = np.r_[np.arange(140) % 2 == 0, np.arange(10) < 5]
    assert top_bin_error(confidence, correct) == pytest.approx(0.5)
    assert calibration_error(confidence, correct) == pytest.approx(0.5 / 15)


@settings(deadline=None)
@given(n=st.integers(1, 200), levels=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_the_order_of_the_rows_tells_nothing(n, levels, seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(1, levels + 1, n) / levels, rng.random(n) < 0.8
    for measure in (calibration_error, top_bin_error):
        order = rng.permutation(n)
        found = measure(confidence[order], correct[order])
        assert found == pytest.approx(measure(confidence, correct))


def test_ties_that_lie_patient_by_patient_are_one_bin():
    # Each of ten patients is all right or all wrong, and the score says what is true of them.
    assert calibration_error(np.full(100, 0.5), np.repeat(np.arange(10) % 2 == 0, 10)) == 0


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_images(n):
    assert 0 <= top_bin_error(np.full(n, 0.7), np.ones(n, dtype=bool)) <= 0.31
    assert 0 <= calibration_error(np.full(n, 0.7), np.ones(n, dtype=bool)) <= 0.31
