"""TensorFlow's padding, without its copies: the same sums on maps of any side."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from clusterkit.encoders.registry import load_backbone
from clusterkit.models.folding import folded
from clusterkit.models.same_padding import pad_inside


@given(
    kernel=st.sampled_from([1, 3, 5, 7, (3, 5), 4]), stride=st.sampled_from([1, 2, 3]),
    dilation=st.sampled_from([1, 2]), groups=st.sampled_from([1, 4]),
    sides=st.tuples(st.integers(8, 19), st.integers(8, 19)), bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_sums_are_the_same(kernel, stride, dilation, groups, sides, bias):
    conv = Conv2dSame(4, 8, kernel, stride, 0, dilation, groups, bias)
    network, maps = nn.Sequential(conv), torch.randn(2, 4, *sides)
    wanted = network(maps)
    pad_inside(network)
    torch.testing.assert_close(network(maps), wanted)


@pytest.mark.parametrize("side", [224, 225, 98])
def test_the_default_encoder_gives_the_same_maps_of_any_side(side):
    encoder = load_backbone("tf_efficientnet_lite0", "none", side).encoder.eval()
    quick, images = folded(encoder, encoder.side), torch.randn(1, 3, side, side)
    assert not any(type(m).__name__ == "Conv2dSame" for m in quick.network.children())
    with torch.no_grad():
        for one, other in zip(quick(images), encoder(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
