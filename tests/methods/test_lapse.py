"""Lapse rates: no probability is 1, the likeliest class and the order stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.lapse import Lapse, crossed_lapse


def sure(n: int, noise: float, seed: int, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities 0 and 1 of n images, and labels of which some are drawn anew."""
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, k, n)
    labels = np.where(rng.random(n) < noise, rng.integers(0, k, n), seen)
    return np.eye(k)[seen], labels


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 40), k=st.integers(1, 7), units=st.integers(1, 40), seed=st.integers(0, 99))
def test_likeliest_class_and_order_stay(n, k, units, seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(k, 0.05), n)
    lapse = Lapse.fitted(probs, rng.integers(0, k, n), rng.integers(0, units, n))
    found = lapse(probs)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found.argmax(axis=1), probs.argmax(axis=1))
    assert (np.diff(found.max(axis=1)[np.argsort(probs.max(axis=1))]) >= 0).all()
    assert 0 < lapse.rate < 1
    assert k == 1 or found.max() < 1


def test_nothing_is_surer_than_few_units_allow():
    rates = []
    for n in (2, 18, 100, 1000):
        probs, labels = sure(n, 0.0, 0)
        rates.append(Lapse.fitted(probs, labels, np.arange(n)).rate)
    assert rates == sorted(rates, reverse=True)
    assert rates[1] == pytest.approx(1 / 1150, rel=0.02)
    assert Lapse()(np.eye(3)).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noisy_labels_are_found(noise):
    rates = []
    for seed in range(20):
        probs, labels = sure(300, noise, seed)
        rates.append(Lapse.fitted(probs, labels, np.arange(300)).rate)
    assert np.mean(rates) == pytest.approx(noise, rel=0.15)


def test_images_of_one_unit_are_not_many_pieces_of_evidence():
    probs, labels = sure(400, 0.3, 1)
    many = Lapse.fitted(probs, labels, np.arange(400)).rate
    few = Lapse.fitted(probs, labels, np.arange(400) % 4).rate
    assert few < many
    copies = Lapse.fitted(
        np.repeat(probs, 3, 0), np.repeat(labels, 3), np.repeat(np.arange(400), 3)
    )
    assert copies.rate == pytest.approx(many)


def test_what_is_measured_knows_nothing_of_its_own_units():
    probs, labels = sure(50, 0.1, 2)
    units = np.arange(50)
    found, other = crossed_lapse(probs, labels, units), labels.copy()
    other[units % 5 == 0] = (other[units % 5 == 0] + 1) % 3
    again = crossed_lapse(probs, other, units)
    np.testing.assert_array_equal(found[units % 5 == 0], again[units % 5 == 0])
    assert (found[units % 5 != 0] != again[units % 5 != 0]).any()
    one = crossed_lapse(probs[:3], labels[:3], np.zeros(3, dtype=int))
    np.testing.assert_array_equal(one, probs[:3])
