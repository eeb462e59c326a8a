"""The packaged weights: the network of timm with them is the one that they were trained as."""

import pytest
import timm
import torch
from torch.nn.functional import batch_norm, conv2d, pad

from clusterkit.encoders.packaged import packaged_file, renamed
from clusterkit.encoders.registry import load_backbone
from clusterkit.errors import WeightsError

NAME = "tf_efficientnet_lite0"
# Of each block in order; the others keep the size.
STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


def tensors():
    return torch.load(packaged_file(NAME), weights_only=True)


def original(t, x):
    """Compute EfficientNet-Lite0 from the package's own names, step by step."""

    def convolved(x, name, stride=1):
        weight = t[f"{name}.weight"]
        kernel, groups = weight.shape[-1], t[f"{name}.weight"].shape[0] // 1
        groups = groups if weight.shape[1] == 1 and weight.shape[0] == x.shape[1] else 1
        # TensorFlow's padding: as many places come out as the stride says, the odd one at the end.
        need = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
        (down, right) = need
        x = pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
        return conv2d(x, weight, stride=stride, groups=groups)

    def normed(x, name, act=True):
        keys = ("running_mean", "running_var", "weight", "bias")
        x = batch_norm(x, *(t[f"{name}.{key}"] for key in keys), eps=1e-3)
        return x.clamp(0, 6) if act else x

    x = normed(convolved(x, "_conv_stem", 2), "_bn0")
    for number, stride in enumerate(STRIDES):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in t:
            x = normed(convolved(x, f"{block}._expand_conv"), f"{block}._bn0")
        x = normed(convolved(x, f"{block}._depthwise_conv", stride), f"{block}._bn1")
        x = normed(convolved(x, f"{block}._project_conv"), f"{block}._bn2", act=False)
        x = x + before if x.shape == before.shape else x
    x = normed(convolved(x, "_conv_head"), "_bn1").mean((2, 3))
    return x @ t["_fc.weight"].T + t["_fc.bias"]


@torch.inference_mode()
def test_the_renamed_tensors_make_the_same_network():
    network = timm.create_model(NAME, pretrained=False).eval()
    network.load_state_dict(renamed(tensors(), network.state_dict(), "x"))
    image = torch.randn(2, 3, 97, 128, generator=torch.Generator().manual_seed(0))
    expected = original(tensors(), image)
    assert expected.std() > 0.1
    assert (network(image) - expected).abs().max() < 1e-4


def test_the_default_is_packaged_and_the_same_everywhere():
    one, other = load_backbone(NAME), load_backbone(f"{NAME}.in1k")
    assert one.weights == other.weights == "packaged"
    assert one.pretrained
    # The package names its file by the first digits.
    assert packaged_file(NAME).stem.endswith(one.record.sha256[:8])
    assert one.record.expects.mean == one.record.expects.std == (0.5, 0.5, 0.5)
    assert one.record.expects.size == 224
    assert one.encoder.nested == [384, 1872, 1824]


@pytest.mark.parametrize("change", ["fewer", "shape", "kind"])
def test_other_tensors_are_refused(change):
    wanted, own = timm.create_model(NAME, pretrained=False).state_dict(), tensors()
    first, *rest = own
    if change == "fewer":
        del own[rest[-1]]
    elif change == "shape":
        own[first] = own[first][:1]
    else:
        own = {("_bn.other" if key == rest[0] else key): value for key, value in own.items()}
    with pytest.raises(WeightsError, match="install the package anew"):
        renamed(own, wanted, "file.pth")
