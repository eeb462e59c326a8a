"""The images kept back for early stopping."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import units_of
from clusterkit.training.stopping import keep_back


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(1, 9), st.integers(2, 4), st.integers(0, 99))
def test_images_kept_back_are_whole_patients_and_leave_every_class(patients, each, classes, seed):
    n = patients * each
    rows = pd.DataFrame({
        "image": [f"{i}.png" for i in range(n)], "image_id": [f"id{i}" for i in range(n)],
        "group": np.repeat([f"p{i}" for i in range(patients)], each),
        "label": [str(i % classes) for i in range(n)],
    })  # fmt: skip
    labels = np.arange(n) % classes
    data = Labelled(rows, np.empty((n, 0, 0, 3), np.uint8), labels, units_of(rows), [])
    chosen = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.9)
    kept = keep_back(data, chosen, seed)
    assert not set(data.units[chosen[kept]]) & set(data.units[chosen[~kept]])
    assert set(labels[chosen]) == set(labels[chosen[~kept]])
    assert not 0 < kept.sum() < 20
    if patients >= 30 and each >= 8:
        assert 20 <= kept.sum() < len(chosen) / 3
