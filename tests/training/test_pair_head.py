"""The Siamese head on cached features."""

import torch

from clusterkit.models.heads import pair_features
from clusterkit.models.siamese import FactoredSiamese
from clusterkit.training.pair_head import fit_pair_head
from tests.training.features import blobs


def test_pair_head_tells_classes_apart_and_factors_exactly():
    features, labels = blobs(60, 8, 2.0, 0)
    views = torch.stack([features, features + 0.01])
    losses = []
    head = fit_pair_head(views, labels, [], 60, 3e-3, 0.01, 0, lambda e, loss: losses.append(loss))
    again = fit_pair_head(views, labels, [], 60, 3e-3, 0.01, 0)
    assert losses[-1] < losses[0] / 2
    fresh, truth = blobs(40, 8, 2.0, 1)
    with torch.no_grad():
        both = [head(pair_features(a, b))[:, 0] for a, b in
                ((fresh, fresh.flip(0)), (fresh.flip(0), fresh))]  # fmt: skip
        repeated = again(pair_features(fresh, fresh.flip(0)))[:, 0]
    assert torch.equal(both[0], repeated)
    alike = truth == truth[::-1]
    assert ((both[0] > 0).numpy() == alike).mean() > 0.9
    siamese = FactoredSiamese.from_head(head)
    logits = siamese.logits(siamese.project(fresh), siamese.project(fresh.flip(0)))
    assert torch.allclose(logits.diagonal(), (both[0] + both[1]) / 2, atol=1e-4)
