"""Labelled images that cannot be read: what is said is what is so."""

import numpy as np
import pytest
from PIL import Image

from clusterkit.config import Config
from clusterkit.data.labelled import load_labelled
from clusterkit.data.manifest import read_manifest
from clusterkit.errors import DataError
from clusterkit.progress import silent


def folder(root, **classes):
    """Class folders with so many (readable, unreadable) images."""
    for name, (good, bad) in classes.items():
        (root / name).mkdir()
        for i in range(good):
            Image.effect_noise((32, 32), 60 + i).save(root / name / f"good{i}.png")
        for i in range(bad):
            (root / name / f"bad{i}.png").write_bytes(f"no picture {name} {i}".encode())
    return root


def load(root):
    config = Config()
    return load_labelled(read_manifest(root, config, silent), config, silent)


def test_no_labelled_image_can_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none of the 5 labelled images can be read, e\.g\. "
                       r"'a/bad0\.png': \w+"):  # fmt: skip
        load(folder(tmp_path, a=(0, 2), b=(0, 3)))


def test_one_class_only_can_be_read(tmp_path):
    with pytest.raises(DataError, match=r"only images of 'b' can be read: 5 labelled images of 2 "
                       r"other classes cannot, e\.g\. 'a/bad0\.png': \w+"):  # fmt: skip
        load(folder(tmp_path, a=(0, 2), b=(3, 1), c=(0, 3)))


def test_a_class_that_is_lost_is_named(tmp_path, caplog):
    found = load(folder(tmp_path, a=(2, 1), b=(3, 0), c=(0, 4)))
    assert found.classes == ["a", "b"]
    assert "5 labelled images are left out, e.g. 'c/bad0.png': " in caplog.text
    assert "class 'c' is left out: none of its 4 labelled images can be read" in caplog.text


def test_labels_of_one_class_are_said_to_be_one(tmp_path):
    with pytest.raises(DataError, match="at least two classes are needed"):
        load(folder(tmp_path, a=(2, 1)))


def test_units_of_those_that_are_left_have_no_gaps(tmp_path):
    """A run says of its held-out images which unit they are, among as many as it has images."""
    found = load(folder(tmp_path, a=(4, 0), b=(4, 0)))
    kept = np.array([False, True] * 4)
    left = found.take(kept)
    assert sorted(left.units) == [0, 1, 2, 3]
    assert (np.argsort(left.units) == np.argsort(found.units[kept])).all()
