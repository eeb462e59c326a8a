"""The quick forward: the same features in less time."""

import time
from typing import ClassVar

import pytest
import torch

from clusterkit.encoders.registry import load_backbone
from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.models.forward import BFLOAT16, FLOAT32, normalise, prepare, quick_precision
from clusterkit.models.heads import pool
from clusterkit.models.twins import can_be_shared


@pytest.fixture(params=["resnet18", "densenet121", "squeezenet1_1", "shufflenet_v2_x0_5"])
def encoder(request):
    torch.manual_seed(0)
    found = empty_encoder(request.param).eval()
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return found


def test_prepared_forward_gives_the_encoders_features_and_leaves_it_alone(encoder):
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    images = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = pool(encoder(normalise(images, "cpu")))
    plain = prepare(encoder, FLOAT32, "cpu")(images)
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    quick = prepare(encoder, BFLOAT16, "cpu")
    rounded = quick(images)
    assert rounded.dtype == torch.float32
    assert torch.cosine_similarity(rounded, expected).min() > 0.99
    assert not torch.equal(rounded, plain)
    # What an image gives does not depend on those beside it, or a resumed run would differ.
    assert torch.equal(quick(images[:2]), rounded[:2])
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_bfloat16_is_for_processors_that_have_it(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert quick_precision("cpu") == FLOAT32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert quick_precision("cpu") == BFLOAT16


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1+shufflenet_v2_x0_5"])
def test_several_threads_give_what_one_gives(name):
    torch.manual_seed(0)
    encoder = load_backbone(name, "none", 64).encoder
    # Of this size three parts.
    images = torch.randint(0, 256, (20, 160, 160, 3), dtype=torch.uint8)
    forward, threads = prepare(encoder, FLOAT32, "cpu"), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = forward(images)
        torch.set_num_threads(3)
        # More calls than one: what a thread leaves in a network must not reach the next.
        together = [forward(images) for _ in range(2)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found, alone) for found in together)


class _Remembering(torch.nn.Module):
    """A user's own encoder that keeps a map outside of itself, as a hook does."""

    seen: ClassVar[dict[str, torch.Tensor]] = {}

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.first.register_forward_hook(lambda _, __, maps: self.seen.update(maps=maps))

    def forward(self, images):
        self.first(images)
        time.sleep(0.01)
        return [self.seen["maps"]]


def test_a_network_that_keeps_something_elsewhere_is_not_used_by_several_threads():
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    assert can_be_shared(plain)
    assert not can_be_shared(_Remembering())
    plain[0].register_forward_pre_hook(lambda *_: None)
    assert not can_be_shared(plain)
