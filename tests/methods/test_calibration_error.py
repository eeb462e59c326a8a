"""Calibration errors: of all images, and of the surest."""

import numpy as np
import pytest

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


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_images(n):
    assert 0 <= top_bin_error(np.full(n, 0.7), np.ones(n, dtype=bool)) <= 0.31
    assert 0 <= calibration_error(np.full(n, 0.7), np.ones(n, dtype=bool)) <= 0.31
