"""The linear head against scikit-learn's own regression."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clusterkit.models.scaling import shrunk_variance
from clusterkit.training.linear import fit_linear_head
from tests.training.features import blobs


def test_linear_head_is_the_regression_whatever_the_space_it_is_fitted_in():
    features, labels = blobs(30, 100, 1.0, 0, 3)
    head = fit_linear_head(features[None], labels, np.full(3, 1 / 3), [[50]], 0.02)
    scaled = (features - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    plain = LogisticRegression(C=0.02, max_iter=5000).fit(scaled, labels)
    fresh, _ = blobs(20, 100, 1.0, 1, 3)
    with torch.no_grad():
        probs = torch.softmax(head(fresh), 1).numpy()
    scaled = (fresh - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    assert np.abs(probs - plain.predict_proba(scaled)).max() < 0.01


@given(
    n=st.sampled_from([12, 300]), rank=st.integers(0, 8), copies=st.booleans(),
    loud=st.sampled_from([0.0, 1e3, 1e6]), seed=st.integers(0, 99),
    chains=st.sampled_from([[], [[100, 300]], [[100, 200], [100]]]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_images_that_span_few_directions_are_fitted_too(n, rank, copies, loud, chains, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, 800))
    # In one image alone: standardised it is longer than all others.
    features[0, :40] += loud
    if copies:
        features[n // 2 :] = features[: n - n // 2]
    views = torch.from_numpy(features.astype(np.float32))[None]
    labels = np.arange(n) % 3
    head = fit_linear_head(views, labels, np.full(3, 1 / 3), chains, 0.02)
    with torch.no_grad():
        assert torch.isfinite(head(views[0])).all()


def test_many_images_of_few_features_take_no_square_of_memory():
    n = 5000
    views = torch.randn(1, n, 12, generator=torch.Generator().manual_seed(0))
    tracemalloc.start()
    try:
        fit_linear_head(views, np.arange(n) % 2, np.array([0.5, 0.5]), [[2, 4]], 0.02)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * n


@pytest.mark.parametrize("n", [6, 9, 40])
def test_each_depth_has_its_regression_however_many_images_there_are(n):
    """With 9 images the deepest depth has fewer features than images, and all depths have more."""
    features, labels = blobs(n, 12, 1.0, 0, 3)
    features, labels = features[:n], labels[:n]
    head = fit_linear_head(features[None], labels, np.full(3, 1 / 3), [[2, 4]], 0.5)
    mean, var = features.mean(0), shrunk_variance(features.var(0, correction=0), [[2, 4]], 0.1)
    scaled = ((features - mean) / torch.sqrt(var + 1e-5)).numpy()
    wanted = np.zeros((n, 3))
    for columns in (np.arange(12), np.r_[2:6, 8:12]):
        plain = LogisticRegression(C=0.5, max_iter=5000, class_weight="balanced")
        plain.fit(scaled[:, columns], labels)
        wanted += plain.decision_function(scaled[:, columns]) / 2
    with torch.no_grad():
        assert np.abs(head(features).numpy() - wanted).max() < 0.01


def test_joined_encoders_have_regressions_of_their_own():
    """The logits are the mean of those that each encoder's features would give alone."""
    features, labels = blobs(40, 20, 1.0, 0, 3)
    prior, chains = np.full(3, 1 / 3), [[2, 4], [1, 3]]
    # Maxima of both encoders, then means of both.
    of_each = [features[:, np.r_[0:6, 10:16]], features[:, np.r_[6:10, 16:20]]]
    joined = fit_linear_head(features[None], labels, prior, chains, 0.5)
    alone = [fit_linear_head(part[None], labels, prior, [chain], 0.5)
             for part, chain in zip(of_each, chains, strict=True)]  # fmt: skip
    with torch.no_grad():
        wanted = sum(head(part) for head, part in zip(alone, of_each, strict=True)) / 2
        assert (joined(features) - wanted).abs().max() < 0.01
