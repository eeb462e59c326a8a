"""Features of the encoder that training starts from."""

import numpy as np
import torch

from clusterkit.config import AugmentConfig
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.training.cached_features import CachedFeatures
from tests.training.features import features_of


def test_features_to_start_from_are_computed_once_and_are_those_of_each_view():
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    encoder, calls = empty_encoder("squeezenet1_1").eval(), []
    start = CachedFeatures(encoder, images, "cpu", lambda *step: calls.append(step))
    whole = start.views(AugmentConfig(flip_horizontal=True, flip_vertical=True))
    assert calls == [(20, 20)]
    for across, down in np.ndindex(2, 2):
        augment = AugmentConfig(flip_horizontal=bool(across), flip_vertical=bool(down))
        views = start.views(augment)
        assert len(views) == (1 + across) * (1 + down)
        last = images[:, :: -1 if down else 1, :: -1 if across else 1].copy()
        want = features_of(encoder, last)
        assert torch.allclose(views[-1], want, atol=1e-3)
    assert len(calls) == 2
    assert start.views(AugmentConfig()) is start.views(AugmentConfig())
    assert torch.equal(start.views(AugmentConfig())[0], whole[0])
