"""The linear head against scikit-learn's own regression."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from clusterkit.training.linear import fit_linear_head
from tests.training.features import blobs


def test_linear_head_is_the_regression_whatever_the_space_it_is_fitted_in():
    features, labels = blobs(30, 100, 1.0, 0, 3)
    head = fit_linear_head(features[None], labels, np.full(3, 1 / 3), [50], 0.02)
    scaled = (features - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    plain = LogisticRegression(C=0.02, max_iter=5000).fit(scaled, labels)
    fresh, _ = blobs(20, 100, 1.0, 1, 3)
    with torch.no_grad():
        probs = torch.softmax(head(fresh), 1).numpy()
    scaled = (fresh - features.mean(0)) / torch.sqrt(features.var(0, correction=0) + 1e-5)
    assert np.abs(probs - plain.predict_proba(scaled)).max() < 0.01
