"""Appearance: statistics of pixels by their definition."""

import numpy as np

from clusterkit.data.appearance import measure_appearance


def test_appearance_by_definition():
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3)).astype(np.uint8)
    found = measure_appearance(images)
    assert found.shape == (70, 27)
    assert found.dtype == np.float32
    image = images[66].astype(float) / 255
    assert np.allclose(found[66, 6:9], image.mean(axis=(0, 1)), atol=1e-5)
    small = image.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    rough = (np.diff(small, axis=0) ** 2).mean((0, 1)) + (np.diff(small, axis=1) ** 2).mean((0, 1))
    assert np.allclose(found[66, 15:18], np.log(rough + 1e-5), atol=1e-4)
    assert measure_appearance(images[:0]).shape == (0, 27)
