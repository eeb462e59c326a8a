"""Decoded images beyond the memory bound."""

import tempfile

import numpy as np
import pytest

from clusterkit import read_manifest
from clusterkit.config import override
from clusterkit.data.cache import room_for_images
from clusterkit.data.labelled import load_labelled
from clusterkit.errors import DataError


def test_images_beyond_the_bound_are_in_a_file_that_nobody_sees(sample, config, tmp_path,
                                                                monkeypatch):  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    manifest = read_manifest(sample / "labels.csv", config)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    manifest.loc[3, "path"] = str(broken)
    memory = load_labelled(manifest, config, lambda *step: None)
    mapped = load_labelled(manifest, override(config, train__cache_mb=0), lambda *step: None)
    assert isinstance(mapped.images, np.memmap)
    assert not isinstance(memory.images, np.memmap)
    assert np.array_equal(memory.images, mapped.images)
    assert len(mapped.images) == len(manifest[manifest["label"].notna()]) - 1
    assert [p.name for p in tmp_path.iterdir()] == ["broken.png"]


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clusterkit.data.cache.reserve", full)
    with pytest.raises(DataError, match=r"^9 images of 64 pixels .* \(No space left on device\); "
                                        r".*TMPDIR.*train\.cache_mb$"):  # fmt: skip
        room_for_images(9, 64, 0)
