"""The factored Siamese head is the module's own forward, for random and trained weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.encoders.torchvision import backbone_names, empty_encoder
from clusterkit.models.heads import SiameseModel, create_head, pair_features, pool
from clusterkit.models.siamese import FactoredSiamese


def shaken_head(features: int, seed: int) -> torch.nn.Sequential:
    """A head whose BatchNorms are far from the identity, as after training."""
    torch.manual_seed(seed)
    head = create_head(2 * features, 1)
    for norm in (head[0], head[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 4)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return head.eval()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), channels=st.integers(1, 40))
def test_factored_logit_is_the_mean_of_both_orders(seed, channels):
    head = shaken_head(2 * channels, seed)
    first, second = torch.randn(5, 2 * channels), torch.randn(7, 2 * channels)
    siamese = FactoredSiamese.from_head(head)
    with torch.inference_mode():
        found = siamese.logits(siamese.project(first), siamese.project(second))
        for i, j in np.ndindex(5, 7):
            a, b = first[i : i + 1], second[j : j + 1]
            naive = (head(pair_features(a, b)) + head(pair_features(b, a))) / 2
            assert found[i, j].item() == pytest.approx(naive.item(), abs=1e-4, rel=1e-4)


def test_factored_logit_equals_the_trained_module(run):
    networks = run.networks
    model = SiameseModel(networks.encoder, networks.siamese_head).eval()
    torch.manual_seed(0)
    first, second = torch.randn(3, 3, 48, 48), torch.randn(3, 3, 48, 48)
    siamese = FactoredSiamese.from_head(networks.siamese_head)
    with torch.inference_mode():
        naive = (model(first, second) + model(second, first))[:, 0] / 2
        features = [pool(networks.encoder(x)) for x in (first, second)]
        found = siamese.logits(*(siamese.project(f) for f in features)).diagonal()
    assert torch.allclose(found, naive, atol=1e-4)


def test_similarity_is_symmetric():
    siamese = FactoredSiamese.from_head(shaken_head(12, 1))
    a, b = torch.randn(4, 12), torch.randn(6, 12)
    one = siamese.logits(siamese.project(a), siamese.project(b))
    other = siamese.logits(siamese.project(b), siamese.project(a))
    assert torch.allclose(one, other.T, atol=1e-5)


def test_large_blocks_give_the_same_logits(monkeypatch):
    siamese = FactoredSiamese.from_head(shaken_head(8, 2))
    a, b = siamese.project(torch.randn(9, 8)), siamese.project(torch.randn(30, 8))
    whole = siamese.logits(a, b)
    monkeypatch.setattr("clusterkit.models.siamese.BLOCK", 9 * 512 * 4)
    assert torch.allclose(whole, siamese.logits(a, b), atol=1e-6)


def test_head_and_pooling_are_fastais():
    from fastai.vision.learner import create_head as fastai_head

    theirs = fastai_head(2 * 6, 1, ps=0.5).eval()
    ours = create_head(4 * 6, 1)
    state = theirs[2:].state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), state, strict=True)))
    maps_a, maps_b = torch.randn(3, 6, 4, 5), torch.randn(3, 6, 4, 5)
    with torch.inference_mode():
        want = theirs(torch.cat([maps_a, maps_b], dim=1))
        got = ours.eval()(pair_features(pool(maps_a), pool(maps_b)))
    assert torch.allclose(want, got, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "squeezenet1_0", "densenet121", "mobilenet_v3_small", "efficientnet_b0",
     "shufflenet_v2_x0_5", "regnet_y_400mf", "convnext_tiny",
     pytest.param("vgg11", marks=pytest.mark.slow)],
)  # fmt: skip
def test_backbones_give_maps_of_falling_resolution(name):
    assert name in backbone_names()
    encoder = empty_encoder(name).eval()
    with torch.inference_mode():
        maps = encoder(torch.zeros(2, 3, 96, 96))
    heights = [m.shape[2] for m in maps]
    assert heights == sorted(heights, reverse=True)
    assert sum(m.shape[1] for m in maps) == encoder.channels


def test_cut_keeps_the_networks_own_computation():
    """The last map of the cut densenet is what its own forward pools."""
    from torchvision.models import densenet121

    torch.manual_seed(0)
    model = densenet121(weights=None).eval()
    encoder = empty_encoder("densenet121").eval()
    encoder.body.load_state_dict(
        dict(zip(encoder.body.state_dict(), model.features.state_dict().values(), strict=True))
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        want = model(x)
        got = model.classifier(encoder(x)[-1].mean((2, 3)))
    assert torch.allclose(want, got, atol=1e-5)
