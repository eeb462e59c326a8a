"""Features of the pool from both encoders."""

import torch

from clusterkit.config import ImageConfig
from clusterkit.encoders.registry import load_backbone
from clusterkit.models.networks import Networks, embed_paths


def test_each_encoder_sees_the_pool_with_its_own_eyes(sample):
    encoders = [load_backbone("resnet18", "none").encoder for _ in range(2)]
    networks = Networks(encoders[0], torch.nn.Identity(), torch.nn.Sequential(), encoders[1])
    places = [(str(p), None) for p in sorted(sample.rglob("*.png"))[:3]]
    found = embed_paths(networks, [*places, ("nowhere.png", None)], ImageConfig(size=48), "cpu")
    assert found.classifier.shape == found.siamese.shape == (3, 2 * encoders[0].channels)
    assert not torch.allclose(found.classifier, found.siamese)
    assert embed_paths(networks, [("nowhere.png", None)], ImageConfig(size=48), "cpu") is None
