"""Clustering of refused images by Ward's method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

from clusterkit.methods.clustering import cluster_in_parts, cluster_refused, cluster_space


def test_clusters_number_every_image_and_find_clear_groups():
    rng = np.random.default_rng(0)
    points = np.r_[rng.normal(0, 0.1, (30, 2)), rng.normal(5, 0.1, (20, 2)), [[50.0, -50.0]]]
    clusters = cluster_refused(points, 5)
    assert len(set(clusters[:30])) == 1
    assert clusters[0] == 0
    assert len(set(clusters[30:50])) == 1
    assert (clusters == clusters[-1]).sum() == 1
    assert cluster_refused(points[:1], 5).tolist() == [0]
    assert cluster_refused(points[:0], 5).tolist() == []


def test_clusters_of_none_one_two_and_identical_images():
    assert cluster_refused(np.zeros((0, 3)), 5, 2).tolist() == []
    assert cluster_refused(np.zeros((1, 3)), 5, 2).tolist() == [0]
    assert cluster_refused(np.eye(2), 5, 2).tolist() == [0, 1]
    assert cluster_refused(np.eye(2), 2, 2).tolist() == [0, 1]
    assert cluster_refused(np.zeros((2, 3)), 5, 2).tolist() == [0, 0]
    assert cluster_refused(np.zeros((30, 3)), 5, 2).tolist() == [0] * 30


@given(st.integers(0, 500), st.integers(1, 60), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_clusters_do_not_depend_on_the_order_and_keep_copies_together(seed, n, classes):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    points = np.r_[points, points[: n // 2]]
    found = cluster_refused(points, 5, classes)
    assert (found[n:] == found[: n // 2]).all()
    counts = np.bincount(found)
    assert (counts > 0).all()
    assert (np.diff(counts) <= 0).all()
    order = rng.permutation(len(points))
    again = cluster_refused(points[order], 5, classes)
    assert adjusted_mutual_info_score(again, found[order]) == pytest.approx(1)


def test_clusters_find_classes_and_one_that_nobody_labelled():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [6, 0, 0], [0, 0, 8.0]])
    # The second axis is wide within every class, and says nothing.
    spread = np.array([1, 15, 1])
    labels, true = np.repeat([0, 1], 30), np.repeat([0, 1, 2], 60)
    labelled = centres[labels] + spread * rng.normal(size=(60, 3))
    points = centres[true] + spread * rng.normal(size=(180, 3))
    space = cluster_space(points, np.full((180, 2), 0.5), labelled, labels)
    found = cluster_refused(space, 5, 2)
    of_cluster = [np.bincount(true[found == c]).max() for c in np.unique(found)]
    assert sum(of_cluster) / 180 > 0.95
    assert adjusted_mutual_info_score(true, found) > 0.7


def test_assigned_images_show_where_the_known_classes_are():
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 60)
    points = 6 * np.eye(3)[true] + rng.normal(size=(180, 3))
    # All of the unknown class, and a few of the known ones.
    refused = (true == 2) | (np.arange(180) % 20 == 0)
    found = cluster_refused(points, 5, 2, refused)
    assert len(found) == refused.sum()
    assert (found[true[refused] == 2] == 0).mean() > 0.9
    assert not set(found[true[refused] < 2]) & set(found[true[refused] == 2])


def test_many_images_are_clustered_in_little_memory():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 8000)
    points = 10 * np.eye(4)[true] + rng.normal(size=(8000, 4))
    assert adjusted_mutual_info_score(true, cluster_refused(points, 5, 2)) > 0.99


def test_clusters_of_many_images_are_those_of_few(monkeypatch):
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(5), 80)
    reduced = rng.normal(size=(5, 6))[true] * 20 + rng.normal(size=(400, 6))
    probs = rng.dirichlet(np.ones(3), 400)
    labelled, labels = rng.normal(size=(30, 6)), np.repeat([0, 1, 2], 10)
    order, refused = rng.permutation(400), rng.random(400) < 0.5

    def clusters(rows):
        def parts():
            for some in np.array_split(rows, 7):
                yield reduced[some], probs[some]

        return cluster_in_parts(parts, 400, labelled, labels, 5, 3, refused[rows])

    whole = clusters(np.arange(400))
    monkeypatch.setattr("clusterkit.methods.clustering.MOST_KEPT", 399)
    found = clusters(np.arange(400))
    assert adjusted_mutual_info_score(whole, found) > 0.99
    assert adjusted_mutual_info_score(true[refused], found) > 0.99
    # The order of the images does not matter.
    number = np.full(400, -1)
    number[refused] = found
    assert adjusted_mutual_info_score(clusters(order), number[order][refused[order]]) == 1
