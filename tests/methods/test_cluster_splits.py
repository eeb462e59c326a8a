"""No cluster holds two classes that the models know; an unknown class stays together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.cluster_splits import split_by_label


@settings(deadline=None)
@given(n=st.integers(0, 80), seed=st.integers(0, 9999))
def test_splits_only_split(n, seed):
    rng = np.random.default_rng(seed)
    clusters, predicted = rng.integers(0, 5, n), rng.integers(0, 3, n)
    agreed, p = rng.random(n) < 0.5, rng.random(n)
    found = split_by_label(clusters, predicted, agreed, p)
    assert len(found) == n
    for number in np.unique(found):
        assert len(np.unique(clusters[found == number])) == 1
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all()
    assert (sizes > 0).all()
    for number in np.unique(clusters):
        inside = clusters == number
        if (p[inside] < 0.1).mean() <= 0.5:
            assert all(len(set(predicted[found == f])) == 1 for f in np.unique(found[inside]))


def test_an_unknown_class_is_not_torn_apart_and_known_images_leave_it():
    # 20 of an unknown class, between two known ones, and 16 of a known one among them.
    predicted = np.array([0, 1] * 10 + [1] * 16)
    p = np.r_[np.full(20, 0.01), np.full(16, 0.6)]
    agreed = np.r_[np.zeros(20, bool), np.ones(16, bool)]
    found = split_by_label(np.zeros(36, int), predicted, agreed, p)
    assert (found == np.repeat([0, 1], [20, 16])).all()
