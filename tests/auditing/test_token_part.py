"""What a class token adds to a logit is counted, and what no layer can show is said."""

import numpy as np
import pytest
import torch

from clusterkit.auditing.checks.known_places import at_known_places, known_place_rows
from clusterkit.auditing.checks.places import PairScore, layer_grad_cam
from clusterkit.auditing.checks.weights import randomised
from clusterkit.auditing.explain import Encoded, Explainer
from clusterkit.auditing.token_part import about_token, class_token_share, pair_token_share
from clusterkit.encoders.registry import load_backbone
from clusterkit.models.heads import create_head, pool
from clusterkit.models.networks import Networks
from clusterkit.models.siamese import FactoredSiamese
from tests.models.test_siamese import shaken_head

CLASSES = np.array([0, 1, 1])


def explainer_of(name):
    torch.manual_seed(0)
    encoder = load_backbone(name, "none", 64).encoder
    head = shaken_head(2 * encoder.channels, 3)
    networks = Networks(encoder, create_head(2 * encoder.channels, 2), head).to("cpu")
    plain = Explainer(networks, FactoredSiamese.from_head(head), torch.device("cpu"))
    return plain.measured_from(noise(6, 1), np.arange(6) % 2)


def noise(n, seed):
    return np.random.default_rng(seed).integers(0, 255, (n, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def explained():
    """Three pairs of images as a small transformer sees them."""
    explainer = explainer_of("test_vit")
    return explainer, explainer.encode(noise(3, 2)), explainer.encode(noise(3, 3))


def with_usual(explainer, images, places, token):
    """Put the average picture's places, or token, into images."""
    usual = [maps for maps, _ in explainer.averages[1].of_classes(CLASSES)]
    maps = [*(usual if places else images.siamese)[:-1], (usual if token else images.siamese)[-1]]
    return Encoded(maps, maps)


def test_places_token_and_rest_sum_to_the_logit(explained):
    explainer, first, second = explained
    parts = explainer.pair_parts(first, second, CLASSES)
    assert [part.shape[1:] for part in parts.first] == [(4, 4)] * 3 + [(1, 1)]
    total = parts.rest + sum(p.sum((1, 2)) for p in (*parts.first, *parts.second))
    assert torch.allclose(total, parts.logit, atol=1e-3)


def test_the_share_is_the_tokens(explained):
    explainer, first, second = explained
    share = pair_token_share(explainer, first, second, CLASSES)
    parts = explainer.pair_parts(first, second, CLASSES)
    token = sum(abs(float(side[-1][0].sum())) for side in (parts.first, parts.second))
    places = sum(abs(sum(float(part[0].sum()) for part in side[:-1]))
                 for side in (parts.first, parts.second))  # fmt: skip
    assert share[0] == pytest.approx(token / (token + places), abs=1e-4)
    assert ((share > 0) & (share < 1)).all()
    as_usual = [with_usual(explainer, images, False, True) for images in (first, second)]
    assert pair_token_share(explainer, *as_usual, CLASSES) == pytest.approx(0, abs=1e-4)
    only_first = with_usual(explainer, first, False, True)
    assert class_token_share(explainer, only_first, CLASSES) == pytest.approx(0, abs=1e-4)
    by_class = class_token_share(explainer, first, CLASSES)
    assert ((by_class > 0) & (by_class < 1)).all()


def test_it_is_said_where_there_is_a_token(explained):
    encoder = explained[0].networks.encoder
    assert "31% of the similarity's evidence" in about_token(encoder, {"pair": 0.31, "class": 0.2})
    assert "part of the evidence" in about_token(encoder, {})
    other = explainer_of("test_convnext")
    assert about_token(other.networks.encoder, {}) == ""
    images = other.encode(noise(3, 2))
    assert pair_token_share(other, images, images, CLASSES) == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "there"),
    [("test_vit", False), ("test_mambaout", False), ("test_convnext", True),
     ("tf_efficientnet_lite0", True)],
)  # fmt: skip
def test_captums_map_is_drawn_of_a_map_or_its_lack_is_said(name, there):
    """MambaOut's layers have their channels last."""
    pytest.importorskip("captum")
    explainer = explainer_of(name)
    score = PairScore(explainer.networks.encoder, explainer.siamese)
    images, others = noise(3, 2), pool(explainer.encode(noise(3, 3)).siamese)
    drawn = layer_grad_cam(score, images, others, 0)
    assert (drawn is not None) == there
    assert not any(m._forward_hooks for m in explainer.networks.encoder.modules())
    if not there or name == "test_convnext":
        places = np.tile([20.0, 20.0, 6.0, 6.0], (3, 1))
        found, placed = at_known_places(np.ones((3, 64, 64)), images, others, places, score)
        ((_, _, words),) = known_place_rows("of the image", found, placed)
        assert ("There is no captum LayerGradCam" in words) != there


@torch.no_grad()
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_vit", "test_convnext"])
def test_random_weights_are_random_all_over_and_do_not_vanish(name):
    networks = explainer_of(name).networks
    for part in networks.encoder.parameters():
        # As training leaves them: none is where it began.
        part.add_(torch.randn(part.shape) * 0.1)
    before = {key: value.clone() for key, value in networks.encoder.state_dict().items()}
    *_, (_, drawn) = randomised(networks, 0)
    drawn.encoder.eval()
    same = [key for key, value in drawn.encoder.state_dict().items()
            if value.numel() > 1 and torch.equal(value, before[key])]  # fmt: skip
    assert [key for key in same if "running_" not in key] == []
    for maps in drawn.encoder(torch.randn(2, 3, 64, 64)):
        assert 0.01 < float(maps.abs().max()) < 1000
