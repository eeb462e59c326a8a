"""The quick forward: the same features in less time."""

import pytest
import torch

from clusterkit.encoders.torchvision import empty_encoder
from clusterkit.models.forward import BFLOAT16, FLOAT32, normalise, prepare, quick_precision
from clusterkit.models.heads import pool


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
