"""`embed`: what is written, and what is refused before anything is."""

import numpy as np
import pytest
import torch
from PIL import Image

from clusterkit import ClusterkitError, embed
from clusterkit.config import config_from_dict, override
from clusterkit.data.features.table import read_features
from clusterkit.data.identity import image_id_of
from clusterkit.encoders.registry import load_backbone
from clusterkit.models.forward import prepare


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    (folder / "inner").mkdir()
    for name in ("a.png", "b.png", "inner/c.png"):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def small():
    return config_from_dict({
        "image": {"size": 32}, "model": {"backbone": "squeezenet1_1", "weights": "none"},
        "device": "cpu",
    })  # fmt: skip


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".h5"])
def test_vectors_are_the_encoders(images, small, ending, tmp_path):
    found = embed(images, tmp_path / f"f{ending}", config=small, views=True)
    table = read_features(found.path)
    assert table.images == ["a.png", "b.png", "inner/c.png"]
    assert table.ids == [image_id_of((images / name).read_bytes()) for name in table.images]
    torch.manual_seed(0)
    encoder = load_backbone("squeezenet1_1", "none").encoder
    assert table.depths == encoder.depths
    pixels = np.stack([np.asarray(Image.open(images / name)) for name in table.images])
    views = [pixels, pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]]
    for stored, view in zip(table.vectors, views, strict=True):
        own = prepare(encoder, "float32", "cpu")(torch.from_numpy(view.copy()))
        np.testing.assert_allclose(stored, own.numpy(), rtol=1e-4, atol=1e-5)


def test_joined_encoders_can_be_told_apart_again(images, small, tmp_path):
    both = override(small, model__backbone="squeezenet1_1+resnet18")
    table = read_features(embed(images, tmp_path / "f.npz", config=both).path)
    parts = [load_backbone(name, "none").encoder for name in ("squeezenet1_1", "resnet18")]
    assert table.chains == [part.depths for part in parts]
    assert table.depths == [channels for part in parts for channels in part.depths]


def test_the_encoder_of_a_run(run, sample, tmp_path):
    found = embed(sample / "labels.csv", tmp_path / "f.npz", run=run)
    stored = run.gallery["features"].numpy()
    rows = read_features(found.path).row_of_id
    chosen = [rows[identity] for identity in run.manifest["image_id"]]
    np.testing.assert_allclose(read_features(found.path).vectors[0, chosen], stored, rtol=1e-3,
                               atol=1e-3)  # fmt: skip


def test_an_unreadable_image_is_counted(images, small, command, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes((images / "a.png").read_bytes())
    (tmp_path / "in" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "in" / "notes.doc").write_bytes(b"nothing")
    code, out, error = command("embed", tmp_path / "in", "--out", tmp_path / "f.npz", "--backbone",
                               "squeezenet1_1", "--weights", "none", "--size", 32)  # fmt: skip
    assert code == 0
    assert "1 of 2 images cannot be read and are left out, e.g. 'broken.png'" in error
    assert "failed     1 images" in out
    assert "left out" in out
    assert read_features(tmp_path / "f.npz").images == ["a.png"]


def test_none_is_readable(small, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"nothing")
    with pytest.raises(ClusterkitError, match="none of the 1 images"):
        embed(tmp_path / "in", tmp_path / "f.npz", config=small)
    assert not (tmp_path / "f.npz").exists()


def test_only_its_own_file_is_replaced(images, small, tmp_path):
    embed(images, tmp_path / "f.npz", config=small)
    embed(images, tmp_path / "f.npz", config=small, views=True)
    assert len(read_features(tmp_path / "f.npz").vectors) == 4
    np.savez(tmp_path / "g.npz", image=np.array(["a"]), features=np.ones((1, 2)))
    before = (tmp_path / "g.npz").read_bytes()
    with pytest.raises(ClusterkitError, match="no file of features that clusterkit wrote"):
        embed(images, tmp_path / "g.npz", config=small)
    assert (tmp_path / "g.npz").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npz", "g.npz"]


def test_another_ending(images, small, tmp_path):
    for name in ("f.csv", "f.npy", "f"):
        with pytest.raises(ClusterkitError, match=r"written as \.npz, \.parquet, \.h5"):
            embed(images, tmp_path / name, config=small)


def test_without_the_package(images, small, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClusterkitError, match=r"needs the package h5py: .* or give an \.npz"):
        embed(images, tmp_path / "f.h5", config=small)


def test_a_run_names_its_encoder(run, images, command, tmp_path):
    code, _, error = command("embed", images, "--out", tmp_path / "f.npz", "--run", run.path,
                             "--size", 64)  # fmt: skip
    assert code == 2
    assert "leave out --backbone" in error
