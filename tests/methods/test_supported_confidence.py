"""No confidence is shown that held-out images do not bear out."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import beta

from clusterkit.methods.supported_confidence import SupportedConfidence


@settings(deadline=None)
@given(n=st.integers(0, 60), seed=st.integers(0, 10_000), levels=st.integers(1, 12))
def test_order_is_kept_and_nothing_is_raised(n, seed, levels):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(levels + 1, 2 * levels, n, endpoint=True) / (2 * levels) - 0.002
    correct = rng.random(n) < 0.8
    held, asked = SupportedConfidence(confidence, correct, np.arange(n)), np.sort(rng.random(40))
    shown = held(asked)
    assert (shown <= asked).all()
    assert (np.diff(shown) >= 0).all()
    for value, found in zip(asked, shown, strict=True):
        assert found == pytest.approx(min(value, supported(confidence, correct, value)), abs=5e-3)


def supported(confidence: np.ndarray, correct: np.ndarray, value: float) -> float:
    """The rule where each unit has one image: no integral is needed."""
    n, best = len(confidence), 0.0 if len(confidence) else 0.5
    for t in (0.0, *confidence[confidence <= value]) if n else ():
        at = confidence >= t
        best = (
            max(best, (correct[at].sum() + 2 * confidence[at].mean()) / (at.sum() + 2))
            if at.any()
            else best
        )
    return min(best, (n + 0.5) / (n + 1))


@settings(deadline=None, max_examples=15)
@given(units=st.integers(1, 6), images=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_a_unit_of_many_images_says_as_much_as_the_beta_binomial_model_has_it(units, images, seed):
    """Against the integral over rates and correlations, on a grid."""
    rng = np.random.default_rng(seed)
    of, correct = np.repeat(np.arange(units), images), rng.random(units * images) < 0.8
    rates = np.sin((np.arange(400) + 0.5) / 400 * np.pi / 2)[:, None] ** 2
    alike = beta(1, 3).ppf((np.arange(400) + 0.5) / 400)
    a, b = rates * (1 - alike) / alike, (1 - rates) * (1 - alike) / alike

    def expected(right: np.ndarray, exponents: tuple[float, float]) -> float:
        log = sum(betaln(a + k, b + images - k) - betaln(a, b) for k in right)
        # Rates are spaced by Jeffreys' prior.
        weight = np.exp(log) * rates ** exponents[0] * (1 - rates) ** exponents[1]
        return (weight * rates).sum() / weight.sum()

    claimed = expected(np.bincount(of, correct), (2 * 0.8 - 0.5, 2 * 0.2 - 0.5))
    possible = expected(np.full(units, images), (0, 0))
    held = SupportedConfidence(np.full(len(of), 0.8), correct, of)
    assert held(np.array([0.8]))[0] == pytest.approx(min(0.8, claimed, possible), abs=0.01)


def test_what_more_patients_show_counts_for_more():
    def shown(units: np.ndarray) -> float:
        held = SupportedConfidence(np.full(60, 0.9999), np.ones(60, dtype=bool), units)
        return float(held(np.array([0.9999]))[0])

    ordered = [shown(np.arange(60) % patients) for patients in (1, 3, 10, 30, 60)]
    assert ordered == sorted(ordered)
    assert ordered[0] < 0.95 < 0.99 < ordered[-1]


@pytest.mark.parametrize("n", [5, 20, 80])
def test_the_surest_are_right_as_often_as_is_shown(n):
    """Scores that are far too sure: 99.99% where 92% are right."""
    rng = np.random.default_rng(0)
    held_out = rng.binomial(n, 0.92, 4000)
    right = rng.random(4000) < 0.92

    @cache
    def shown(of_them_right: int) -> float:
        correct = np.arange(n) < of_them_right
        held = SupportedConfidence(np.full(n, 0.9999), correct, np.arange(n))
        return float(held(np.array([0.9999]))[0])

    assert np.mean(right) / np.mean([shown(int(k)) for k in held_out]) >= 0.98
