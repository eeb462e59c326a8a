"""Fusion: probabilities from classifier, similarity and neighbours."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from clusterkit.methods.fusion import Scores, fit_fusion


def test_fusion_uses_what_tells_and_ignores_noise():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    signal = 2.0 * np.eye(3)[labels] + rng.normal(size=(300, 3))
    noise = rng.normal(size=(300, 3))
    belief = softmax(signal, axis=1)
    vague = softmax(noise, axis=1)
    everything = np.ones((300, 3), dtype=bool)
    best = (signal.argmax(1) == labels).mean()
    for scores in (
        Scores(signal, noise, vague),
        Scores(noise, signal, vague),
        Scores(noise, noise, belief),
    ):
        probs = fit_fusion(scores, labels, 1.0, 3).probs(scores, everything)
        assert (probs.argmax(1) == labels).mean() >= best - 0.02


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_the_gate_is_an_opinion_and_the_likeliest_class_is_inside(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 60)
    logits, pooled = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    vote = rng.dirichlet(np.ones(4), size=60)
    vote[rng.random(60) < 0.3] = np.nan
    fusion = fit_fusion(Scores(logits, pooled, vote), labels, 0.7, 3)
    gate = fusion.gate(logits)
    probs = fusion.probs(Scores(logits, np.where(gate, pooled, -np.inf), vote), gate)
    assert np.allclose(probs.sum(1), 1)
    out = ~gate
    np.testing.assert_allclose(probs[out], 0.5 * fusion.classifier_probs(logits)[out])
    assert gate[np.arange(60), probs.argmax(1)].all()
    # Runs of before know of no opinion but the gate's.
    before = replace(fusion, outside=0.0).probs(Scores(logits, pooled, vote), gate)
    assert (before[out] == 0).all()
    np.testing.assert_array_equal(before.argmax(1), probs.argmax(1))
