"""Features for the tests of heads: drawn, or an encoder's."""

import numpy as np
import torch

from clusterkit.models.networks import Networks, embed_all


def blobs(n: int, width: int, apart: float, seed: int, n_classes: int = 2) -> tuple:
    """Features (n, width) of classes with means of their own, and labels."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(0).normal(size=(n_classes, width))
    labels = np.arange(n) % n_classes
    features = rng.normal(size=(n, width)) + apart * means[labels]
    return torch.from_numpy(features.astype(np.float32)), labels


def features_of(encoder, images):
    networks = Networks(encoder, torch.nn.Identity(), torch.nn.Sequential())
    return embed_all(networks, images, "cpu").siamese
