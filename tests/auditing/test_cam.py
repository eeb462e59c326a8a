"""CAMs add up to the logit they explain, and leave the model alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clusterkit.auditing.cam import (
    contributions,
    encode_maps,
    field_offsets,
    heat,
    pair_gradients,
    pair_logits,
    part_on,
)
from clusterkit.auditing.explain import Average, Encoded, Explainer, reference_images
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.errors import DataError
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pair_features, pool
from clusterkit.models.siamese import FactoredSiamese
from tests.models.test_siamese import shaken_head


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return [torch.randn(3, 4, 8, 8), torch.randn(3, 6, 4, 4)]


def test_contributions_sum_to_the_linear_part(maps):
    gradients = torch.randn(3, 20)
    total = sum(part.sum((1, 2)) for part in contributions(maps, gradients))
    assert torch.allclose(total, (gradients * pool(maps)).sum(1), atol=1e-3)


def test_pair_gradients_are_autograds():
    siamese = FactoredSiamese.from_head(shaken_head(10, 3))
    first, second = torch.randn(5, 10), torch.randn(5, 10)
    first.requires_grad_()
    second.requires_grad_()
    logits = siamese.logits(siamese.project(first), siamese.project(second)).diagonal()
    want = torch.autograd.grad(logits.sum(), (first, second))
    got = pair_gradients(siamese, first.detach(), second.detach())
    for a, b in zip(want, got, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_heat_finds_the_place_that_matters():
    spot = torch.zeros(1, 8, 8)
    spot[0, 2, 6] = 1.0
    found = heat([spot], 64)
    assert found.min() >= 0
    assert found.max() == pytest.approx(1)
    row, column = np.unravel_index(found[0].argmax(), (64, 64))
    assert abs(row - 20) <= 4
    assert abs(column - 52) <= 4
    assert not heat([-spot], 64).any()


def test_offsets_are_those_of_strided_convolutions():
    """ImageRef i of a resnet's map at stride s sees around pixel s·i: s/2 - 1/2 before its cell."""
    for offset, stride in zip(field_offsets(empty_encoder("resnet18")), (8, 16, 32), strict=True):
        assert offset == pytest.approx(-(stride - 1) / 2, abs=1.5)


def test_moving_a_map_moves_its_peak():
    spot = torch.zeros(1, 8, 8)
    spot[0, 4, 4] = 1.0
    places = [
        np.unravel_index(heat([spot], 64, [offset])[0].argmax(), (64, 64)) for offset in (0, -4)
    ]
    assert np.subtract(*places).tolist() == [4, 4]


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_cams_of_a_run_are_in_range_and_change_nothing(run, config, sample, method):
    images = np.random.default_rng(0).integers(0, 255, (2, 48, 48, 3)).astype(np.uint8)
    encoder = run.networks.encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    explainer = Explainer.of(Predictor(run, config), method)
    encoded = explainer.encode(images)
    pairs = explainer.pair_heats(encoded, encoded.rows([1, 0]), np.array([0, 1]), 48)
    for found in (explainer.class_heats(encoded, np.array([0, 1]), 48), *pairs):
        assert found.shape == (2, 64, 64)
        assert found.min() >= 0
        assert found.max() <= 1
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    assert not any(m._forward_hooks for m in encoder.modules())


@pytest.mark.parametrize("order", ["both", "forward", "backward"])
def test_orders_are_those_of_the_head(order):
    head = shaken_head(10, 5)
    siamese = FactoredSiamese.from_head(head)
    first, second = torch.randn(4, 10).requires_grad_(), torch.randn(4, 10).requires_grad_()
    logits = {
        "forward": head(pair_features(first, second))[:, 0],
        "backward": head(pair_features(second, first))[:, 0],
    }
    logits["both"] = (logits["forward"] + logits["backward"]) / 2
    want = torch.autograd.grad(logits[order].sum(), (first, second))
    got = pair_gradients(siamese, first.detach(), second.detach(), order)
    for a, b in zip(want, got, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("order", ["both", "forward", "backward"])
def test_gradients_from_the_usual_sum_to_the_difference_that_an_image_makes(order):
    siamese = FactoredSiamese.from_head(shaken_head(10, 3))
    first, second, usual = torch.randn(50, 10), torch.randn(50, 10), torch.randn(50, 10)
    to_first, to_second = pair_gradients(siamese, first, second, order, usual)
    logit = pair_logits(siamese, first, second, order)
    without_first = pair_logits(siamese, usual, second, order)
    without_second = pair_logits(siamese, first, usual, order)
    assert torch.allclose((to_first * (first - usual)).sum(1), logit - without_first, atol=1e-4)
    assert torch.allclose((to_second * (second - usual)).sum(1), logit - without_second, atol=1e-4)


def test_gradients_from_the_usual_are_the_mean_of_those_on_the_way():
    siamese = FactoredSiamese.from_head(shaken_head(10, 3))
    first, second, usual = torch.randn(5, 10), torch.randn(5, 10), torch.randn(1, 10)
    got, _ = pair_gradients(siamese, first, second, usual=usual)
    steps = (torch.arange(4000) + 0.5) / 4000
    for row in range(5):
        way = usual + steps[:, None] * (first[row] - usual)
        want, _ = pair_gradients(siamese, way, second[row].expand_as(way))
        assert torch.allclose(got[row], want.mean(0), atol=5e-3)


def test_sides_change_places_with_the_images():
    siamese = FactoredSiamese.from_head(shaken_head(10, 3))
    first, second, usual = torch.randn(5, 10), torch.randn(5, 10), torch.randn(1, 10)
    a, b = pair_gradients(siamese, first, second, usual=usual)
    there, here = pair_gradients(siamese, second, first, usual=usual)
    assert torch.allclose(a, here, atol=1e-5)
    assert torch.allclose(b, there, atol=1e-5)


def test_the_more_typical_image_of_a_pair_is_explained_by_what_they_share():
    """A head that compares: -|a - b|. The gradient at the pair says: less of it would be better."""
    siamese = FactoredSiamese(
        first=torch.tensor([[1.0, -1.0]]), second=torch.tensor([[-1.0, 1.0]]),
        shift=torch.zeros(2), weight=-torch.ones(2), bias=0.0,
    )  # fmt: skip
    query, exemplar, usual = torch.tensor([[2.0]]), torch.tensor([[3.0]]), torch.zeros(1, 1)
    at_pair = pair_gradients(siamese, query, exemplar)
    assert (at_pair[0].item(), at_pair[1].item()) == (1.0, -1.0)
    to_query, to_exemplar = pair_gradients(siamese, query, exemplar, usual=usual)
    assert to_query.item() == pytest.approx(1)
    assert to_exemplar.item() == pytest.approx(1 / 3)


def test_the_part_of_the_way_on_is_that_of_the_rectifier():
    start, end = torch.randn(2, 1000)
    start[:3], end[:3] = torch.tensor([0.0, 1.0, -1.0]), torch.tensor([0.0, 1.0, -1.0])
    part = part_on(start, end)
    assert ((part >= 0) & (part <= 1)).all()
    assert torch.allclose(part * (end - start), end.relu() - start.relu(), atol=1e-6)
    assert part[:3].tolist() == [0, 1, 0]


def test_an_unknown_order_or_method_is_refused(maps):
    siamese = FactoredSiamese.from_head(shaken_head(10, 5))
    with pytest.raises(ValueError, match="forward"):
        pair_gradients(siamese, torch.randn(2, 10), torch.randn(2, 10), "sideways")
    with pytest.raises(ValueError, match="gradcam"):
        contributions(maps, torch.randn(3, 20), "heat")


def test_contributions_are_measured_from_the_reference(maps):
    gradients = torch.randn(3, 20)
    usual = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)]
    reference = [(m, m.amax((2, 3))) for m in usual]
    total = sum(part.sum((1, 2)) for part in contributions(maps, gradients, "cam", reference))
    want = (gradients * (pool(maps) - pool(usual))).sum(1)
    assert torch.allclose(total, want, atol=1e-3)


def test_a_small_heat_is_the_large_one_seen_from_afar(maps):
    parts = [m[:, 0] for m in maps]
    large = heat(parts, 96, [-6.0, -12.0])
    small = heat(parts, 32, [-2.0, -4.0])
    shrunk = large.reshape(3, 32, 3, 32, 3).mean((2, 4))
    apart = np.abs(shrunk / shrunk.max((1, 2), keepdims=True) - small)
    assert apart.mean() < 0.02
    assert apart.max() < 0.15


class Broken(torch.nn.Module):
    """BatchNorm, and then an end that nobody expects."""

    expects = EncoderInput()

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, images):
        self.norm(images)
        raise RuntimeError("out of memory")


def test_a_model_in_training_keeps_its_mode_and_its_means_even_if_it_fails():
    model = Broken().train()
    model.norm.eval()
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_maps(model, np.full((2, 8, 8, 3), 200, np.uint8), "cpu")
    assert model.training
    assert not model.norm.training
    model.norm.train()
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_maps(model, np.full((2, 8, 8, 3), 200, np.uint8), "cpu")
    assert model.norm.training
    assert not model.norm.running_mean.any()


@pytest.fixture
def encoded(run, sample, config):
    predictor = Predictor(run, config)
    images, labels = reference_images(run, 8)
    return Explainer.of(predictor), images, labels


@pytest.mark.parametrize("order", ["both", "forward", "backward"])
@pytest.mark.parametrize("measured", [True, False])
def test_places_and_rest_sum_to_the_logit_of_trained_weights(encoded, run, order, measured):
    explainer, images, labels = encoded
    explainer = explainer if measured else replace(explainer, averages=None)
    first, second = explainer.encode(images[:4]), explainer.encode(images[4:8])
    parts = explainer.pair_parts(first, second, labels[4:8], order)
    total = parts.rest + sum(p.sum((1, 2)) for p in (*parts.first, *parts.second))
    assert torch.allclose(total, parts.logit, atol=1e-3)
    a, b = pool(first.siamese), pool(second.siamese)
    with torch.inference_mode():
        head = run.networks.siamese_head
        by_order = {"forward": head(pair_features(a, b)), "backward": head(pair_features(b, a))}
        by_order["both"] = (by_order["forward"] + by_order["backward"]) / 2
    assert torch.allclose(parts.logit, by_order[order][:, 0], atol=1e-3)


def test_each_side_sums_to_what_the_logit_loses_without_it(encoded):
    explainer, images, labels = encoded
    first, second = explainer.encode(images[:4]), explainer.encode(images[4:8])
    parts = explainer.pair_parts(first, second, labels[4:8])
    reference = explainer.averages[1].of_classes(labels[4:8])
    usual = torch.cat([t for _, t in reference] + [m.mean((2, 3)) for m, _ in reference], 1)
    a, b = pool(first.siamese), pool(second.siamese)
    without = pair_logits(explainer.siamese, usual, b), pair_logits(explainer.siamese, a, usual)
    for side, other in zip((parts.first, parts.second), without, strict=True):
        total = sum(part.sum((1, 2)) for part in side)
        assert torch.allclose(total, parts.logit - other, atol=1e-3)


def test_encoded_images_can_be_kept_and_picked(encoded):
    explainer, images, labels = encoded
    whole = explainer.encode(images)
    joined = Encoded.joined([explainer.encode(images[:3]), explainer.encode(images[3:])])
    picked = joined.rows([5, 0])
    assert len(picked) == 2
    classes = labels[[5, 0]]
    for a, b in zip(
        explainer.pair_heats(picked, whole.rows([1, 2]), classes, images.shape[1]),
        explainer.pair_heats(whole.rows([5, 0]), whole.rows([1, 2]), classes, images.shape[1]),
        strict=True,
    ):
        assert a.shape == (2, explainer.size, explainer.size)
        assert np.allclose(a, b, atol=1e-4)
        assert a.min() >= 0
        assert a.max() <= 1
    heats = explainer.class_heats(picked, classes, images.shape[1])
    assert heats.shape == (2, explainer.size, explainer.size)


def test_the_average_leaves_the_own_class_out():
    maps = [torch.arange(4.0).view(4, 1, 1, 1)]
    average = Average.of(maps, np.array([0, 0, 1, 1]))
    ((found, tops),) = average.of_classes(np.array([0, 1, 7]))
    assert found.flatten().tolist() == [2.5, 0.5, 1.5]
    assert tops.flatten().tolist() == [2.5, 0.5, 1.5]
    ((alone, _),) = Average.of(maps, np.zeros(4, int)).of_classes(np.array([0]))
    assert alone.item() == 1.5


def test_without_readable_exemplars_contributions_are_measured_from_zero(run, config, monkeypatch):
    def gone(self, image):
        raise DataError("gone")

    monkeypatch.setattr(type(run), "open_image", gone)
    assert Explainer.of(Predictor(run, config)).averages is None
