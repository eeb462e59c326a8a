"""A CUDA device changes the time that assign takes, not what it says."""

import numpy as np

from clusterkit import assign
from clusterkit.config import override


def test_a_cuda_device_gives_the_labels_of_the_processor(
    run, assignment, sample, config, tmp_path, cuda
):
    there = override(config, device=cuda, model__precision="float32")
    found = assign(run, sample / "unlabeled.csv", config=there, out=tmp_path / "a.csv").table
    known = (assignment.table["status"] != "failed").to_numpy()
    assert known.sum() >= 20
    here, there = assignment.table[known], found[known]
    assert (here["image"] == there["image"]).all()
    # A convolution may round otherwise there: an image between two classes may change sides.
    assert (here["predicted_label"] == there["predicted_label"]).mean() > 0.9
    assert np.abs(here["confidence"] - there["confidence"]).mean() < 0.05
