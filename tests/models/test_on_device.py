"""What is encoded beside the processor: in parts where memory is short, and in whole float32."""

import pytest
import torch

from clusterkit.errors import ConfigError
from clusterkit.models.forward import BFLOAT16, FLOAT32, quick_precision
from clusterkit.models.on_device import WithinMemory, whole_float32


def encoder_with_room_for(count):
    calls = []

    def encode(images):
        calls.append(len(images))
        if len(images) > count:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images.flatten(1).float()

    return encode, calls


@pytest.mark.parametrize("count", [1, 3, 5, 16, 99])
def test_a_batch_that_does_not_fit_is_encoded_in_parts(count):
    encode, calls = encoder_with_room_for(count)
    within, images = WithinMemory(encode, "cuda:1"), torch.arange(20 * 12).view(20, 2, 2, 3)
    assert torch.equal(within(images), images.flatten(1).float())
    # The size is found once, and kept for the batches that come.
    del calls[:]
    assert torch.equal(within(images[:7]), images[:7].flatten(1).float())
    assert max(calls) <= count


def test_no_room_for_one_image_is_one_line():
    encode, _ = encoder_with_room_for(0)
    with pytest.raises(ConfigError, match=r"memory of cuda:1 has no room .* 224 pixels .* cpu"):
        WithinMemory(encode, "cuda:1")(torch.zeros(5, 224, 224, 3))


def test_float32_is_whole_inside_alone():
    def switch():
        cudnn = torch.backends.cudnn
        return cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else cudnn.allow_tf32

    before = switch()
    with whole_float32():
        assert switch() in ("ieee", False)
    assert switch() == before


def test_the_precision_is_that_of_the_device_which_is_named(monkeypatch):
    asked = []

    class Device:
        def __init__(self, device):
            asked.append(str(device))

        def __enter__(self):
            pass

        def __exit__(self, *_):
            asked.append("left")

    monkeypatch.setattr(torch.cuda, "device", Device)
    for there, found in ((True, BFLOAT16), (False, FLOAT32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda answer=there, **_: answer)
        assert quick_precision("cuda:1") == found
    assert asked == ["cuda:1", "left"] * 2
