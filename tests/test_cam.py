"""CAMs add up to the logit they explain, and leave the model alone."""

import numpy as np
import pytest
import torch

from clusterkit.audit.cam import (
    class_cams,
    contributions,
    field_offsets,
    heat,
    pair_cams,
    pair_gradients,
)
from clusterkit.models.heads import pool
from clusterkit.models.siamese import FactoredSiamese
from tests.test_siamese import shaken_head


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
    """Place i of a resnet's map at stride s sees around pixel s·i: s/2 - 1/2 before its cell."""
    for offset, stride in zip(field_offsets("resnet18"), (8, 16, 32), strict=True):
        assert offset == pytest.approx(-(stride - 1) / 2, abs=1.5)


def test_moving_a_map_moves_its_peak():
    spot = torch.zeros(1, 8, 8)
    spot[0, 4, 4] = 1.0
    places = [
        np.unravel_index(heat([spot], 64, [offset])[0].argmax(), (64, 64)) for offset in (0, -4)
    ]
    assert np.subtract(*places).tolist() == [4, 4]


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_cams_of_a_run_are_in_range_and_change_nothing(run, method):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 48, 48, 3)).astype(np.uint8)
    networks = run.networks
    before = {k: v.clone() for k, v in networks.encoder.state_dict().items()}
    cams = class_cams(networks.encoder, networks.classifier_head, images, np.array([0, 1]),
                      "cpu", method)  # fmt: skip
    siamese = FactoredSiamese.from_head(networks.siamese_head)
    pairs = pair_cams(networks.encoder, siamese, images, images[::-1].copy(), "cpu", method)
    for found in (cams, *pairs):
        assert found.shape == (2, 48, 48)
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-6
    after = networks.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m._forward_hooks for m in networks.encoder.modules())
