"""Networks of timm: by name, from folders and files, what is refused, and runs that keep them."""

import json
import socket

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from clusterkit.auditing.cam import field_offsets, heat
from clusterkit.encoders.backbone import EncoderRecord
from clusterkit.encoders.registry import empty_like, load_backbone
from clusterkit.errors import WeightsError
from clusterkit.models.folding import folded
from clusterkit.models.heads import pool

VIT = "vit_tiny_patch16_224"
NETWORKS = [VIT, "convnext_atto", "tf_efficientnet_lite0", "resnet10t", "mobilenetv3_small_050"]


@pytest.fixture(scope="module", params=NETWORKS)
def backbone(request):
    torch.manual_seed(0)
    return load_backbone(request.param, "none", 64)


@torch.no_grad()
def maps_of(encoder, size=64):
    encoder.eval()
    return encoder(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


def test_maps_are_what_the_encoder_says(backbone):
    encoder = backbone.encoder
    maps = maps_of(encoder)
    assert [m.shape[1] for m in maps] == encoder.depths
    assert sum(encoder.nested) == encoder.channels
    assert len(encoder.nested) == 3
    sides = [m.shape[2] for m in maps[: len(maps) - encoder.tokens]]
    assert sides == sorted(sides, reverse=True)
    assert [m.shape[2:] for m in maps[len(sides) :]] == [(1, 1)] * encoder.tokens
    assert encoder.tokens == (backbone.name == VIT)
    assert len(encoder.stages()) == 3
    assert all(encoder.stages())
    layer = encoder.layer(0)
    assert (layer is None) == encoder.patches == (backbone.name == VIT)


def test_stages_hold_all_weights(backbone):
    """Also position embeddings, tokens and scales, which are of no layer."""
    stages = backbone.encoder.stages()
    held = [id(p) for stage in stages for layer in stage for p in layer.parameters()]
    assert sorted(held) == sorted(id(p) for p in backbone.encoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", [VIT, "test_convnext", "test_mambaout"])
def test_a_map_lies_as_the_picture_does(name):
    torch.manual_seed(0)
    encoder = load_backbone(name, "none", 64).encoder.eval()
    plain = torch.randn(1, 3, 64, 64)
    cell = 64 // encoder(plain)[0].shape[2]
    rows, columns = slice(cell, 2 * cell), slice(2 * cell, 3 * cell)
    other = plain.clone()
    other[..., rows, columns] += 2
    changed = (encoder(other)[0] - encoder(plain)[0]).square().sum(1)
    drawn = heat([changed], 64, field_offsets(encoder)[:1])[0]
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    assert rows.start <= row < rows.stop
    assert columns.start <= column < columns.stop


def test_a_record_builds_the_same_network(backbone, monkeypatch):
    """Offline, and without timm's list of what it has weights of."""

    def no_list(*_, **__):
        raise AssertionError("timm's list was asked")

    record = EncoderRecord.from_dict(json.loads(json.dumps(backbone.record.to_dict())))
    for module in ("timm.models._builder", "timm.models._registry"):
        monkeypatch.setattr(f"{module}.get_pretrained_cfg", no_list)
    again = empty_like(record, 64)
    again.load_state_dict(backbone.encoder.state_dict())
    for one, other in zip(maps_of(backbone.encoder), maps_of(again), strict=True):
        assert (one == other).all()


@torch.no_grad()
def test_folding_changes_nothing(backbone):
    encoder = backbone.encoder.eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    quick = folded(encoder, encoder.side)
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in e.modules())
             for e in (encoder, quick)]  # fmt: skip
    assert norms[1] < norms[0] or not norms[0]
    first, second = pool(maps_of(encoder)), pool(maps_of(quick))
    assert torch.allclose(first, second, atol=1e-3 * float(first.abs().max()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return what `save_for_hf` leaves of a network whose name no list knows, and the network."""
    torch.manual_seed(3)
    network = timm.create_model(VIT, pretrained=False, num_classes=7, img_size=64).eval()
    path = tmp_path_factory.mktemp("hub") / "own-model"
    network.pretrained_cfg |= {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7),
                               "input_size": (3, 64, 64)}  # fmt: skip
    save_for_hf(network, path, model_args={"img_size": 64}, safe_serialization=True)
    return path, network


def test_a_saved_folder_is_an_encoder(folder, monkeypatch):
    """With the network of the machine off."""
    monkeypatch.setattr(socket.socket, "connect", None)
    path, network = folder
    by_name = load_backbone(f"local-dir:{path}")
    assert by_name.record.expects.mean == (0.1, 0.2, 0.3)
    assert by_name.record.expects.size == 64
    assert by_name.weights == by_name.name == "own-model"
    assert len(by_name.record.sha256) == 64
    gated = load_backbone("hf-hub:owner/gated-model", str(path))
    plain = load_backbone(VIT, str(path / "model.safetensors"), 64)
    with torch.no_grad():
        expected = network.forward_intermediates(torch.zeros(1, 3, 64, 64), indices=[3, 7, 11],
                                                 norm=True, intermediates_only=True)  # fmt: skip
        for found in (by_name, gated, plain):
            maps = found.encoder.eval()(torch.zeros(1, 3, 64, 64))
            for one, other in zip(maps, expected, strict=False):
                assert torch.allclose(one, other, atol=1e-5)
    assert str(path) not in json.dumps(by_name.record.to_dict())


def refused(name, weights="auto", size=64):
    with pytest.raises(WeightsError) as caught:
        load_backbone(name, str(weights), size)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_what_cannot_be_is_refused_in_one_line(folder, tmp_path):
    path, network = folder
    state = network.state_dict()
    assert "did you mean 'vit_tiny_patch16_224'" in refused("vit_tiny_patch16_22")
    assert "timm lists vit_tiny_patch16_224.aug" in refused(f"{VIT}.nobody")
    assert "hf-hub:" in refused("owner/name")
    assert "multiple; give --size 64" in refused(VIT, "none", 70)
    assert "do not fit backbone 'convnext_atto'" in refused(
        "convnext_atto", path / "model.safetensors"
    )
    assert "holds a vit_tiny_patch16_224 and no convnext_atto" in refused("convnext_atto", path)
    assert "no config.json" in refused(f"local-dir:{tmp_path}")
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert "save_file(torch.load(" in refused(VIT, tmp_path / "pytorch_model.bin")
    assert "save_file(torch.load(" in refused(VIT, tmp_path)
    bad = state | {"norm.weight": state["norm.weight"] * float("nan")}
    save_file(bad, tmp_path / "nan.safetensors")
    assert "not finite (e.g. in 'norm.weight')" in refused(VIT, tmp_path / "nan.safetensors")
    save_file(state, tmp_path / "whole.safetensors")
    assert "several files of weights" in refused(VIT, tmp_path)
    del state["norm.bias"]
    save_file(state, tmp_path / "less.safetensors")
    assert "1 of 150 tensors missing" in refused(VIT, tmp_path / "less.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    assert "no file of plain tensors" in refused(VIT, tmp_path / "text.safetensors").replace(
        "not a file", "no file"
    )


@pytest.mark.parametrize("channels", [1, 12])
def test_other_channels_than_three_are_said(channels, tmp_path):
    network = timm.create_model(VIT, pretrained=False, img_size=64, in_chans=channels)
    save_for_hf(network, tmp_path, model_args={"img_size": 64, "in_chans": channels},
                safe_serialization=True)  # fmt: skip
    assert f"images of {channels} channels" in refused(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"architecture": "no_such_network"}'])
def test_a_folder_that_describes_no_network(config, tmp_path):
    (tmp_path / "config.json").write_text(config)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    said = refused(f"local-dir:{tmp_path}")
    assert "describes no network" in said or "knows no architecture" in said


@pytest.mark.parametrize("where", ["arguments", "config"])
def test_a_strangers_record_reads_no_other_file(backbone, where, tmp_path):
    torch.save({}, tmp_path / "other.pth")
    values = json.loads(json.dumps(backbone.record.to_dict()))
    if where == "arguments":
        values["arguments"]["checkpoint_path"] = str(tmp_path / "other.pth")
    else:
        values["arguments"]["pretrained_cfg"]["file"] = str(tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no part of a network"):
        empty_like(EncoderRecord.from_dict(values), 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"interpolation": "random"}, "interpolation 'random'"), ({"mean": [0.5]}, "three numbers"),
     ({"std": [1, 0, 1]}, "three numbers"), ({"input_size": [3]}, "cannot be")],
)  # fmt: skip
def test_a_folder_that_asks_for_other_images_than_there_are(folder, change, said, tmp_path):
    path, _ = folder
    values = json.loads((path / "config.json").read_text())
    values["pretrained_cfg"] |= change
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    assert said in refused(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["hf-hub:owner/name", "vit_small_patch14_dinov2.lvd142m"])
def test_a_download_without_a_network_is_one_line(name, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no network")

    # It tries again after some seconds, and after more.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert "--weights DIR" in refused(name, "auto", 70)
