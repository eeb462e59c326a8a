"""The first images to label: different, open, spread over clusters, pictures and patients."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.methods.first_labels import choose_first, whitened_directions


def choose(points, count, groups=None, pictures=None, labelled=None, seed=0):
    n = len(points)
    return choose_first(
        points,
        np.full(n, "") if groups is None else np.array(groups, dtype=object),
        np.full(n, -1) if pictures is None else np.array(pictures),
        np.zeros(n, dtype=bool) if labelled is None else np.array(labelled, dtype=bool),
        count,
        seed,
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_open_images_once_one_a_picture_and_as_many_as_asked(data):
    n = data.draw(st.integers(1, 25))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    points = rng.integers(-2, 3, (n, 2)).astype(np.float32)
    groups = data.draw(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=n, max_size=n))
    pictures = data.draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    labelled = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    count = data.draw(st.integers(1, 30))
    found = choose(points, count, groups, pictures, labelled)
    known = {p for p, is_known in zip(pictures, labelled, strict=True) if is_known and p >= 0}
    shown = [pictures[row] for row in found if pictures[row] >= 0]
    assert len(set(found.tolist())) == len(found)
    assert not any(labelled[row] for row in found)
    assert len(set(shown)) == len(shown)
    assert not known & set(shown)
    left = [i for i in range(n) if not labelled[i] and pictures[i] not in known]
    alone = sum(pictures[i] < 0 for i in left)
    assert len(found) == min(count, alone + len({pictures[i] for i in left} - {-1}))
    np.testing.assert_array_equal(found, choose(points, count, groups, pictures, labelled))


def clusters(sizes, seed=0):
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(len(sizes))
    points = [c + 0.1 * rng.normal(size=(n, len(sizes)))
              for c, n in zip(centres, sizes, strict=True)]  # fmt: skip
    return np.concatenate(points), np.repeat(np.arange(len(sizes)), sizes)


def test_one_of_each_cluster_and_the_largest_first():
    points, own = clusters([5, 20, 10])
    assert own[choose(points, 3)].tolist() == [1, 2, 0]


def test_clusters_with_labelled_images_are_covered():
    points, own = clusters([20, 10, 5])
    labelled = np.zeros(35, dtype=bool)
    labelled[0] = True
    assert set(own[choose(points, 2, labelled=labelled)]) >= {1}
    # As many clusters as there are: the labelled one's is left for last.
    points, own = np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4)
    found = choose(points, 2, labelled=np.arange(12) == 0)
    assert set(own[found]) == {1, 2}


def test_a_new_patient_is_preferred():
    points = np.repeat(np.eye(4), 10, axis=0)
    groups = ["old" if i % 2 else f"p{i}" for i in range(40)]
    found = choose(points, 4, groups)
    assert len({groups[row] for row in found}) == 4


def test_directions_are_of_one_length_and_of_the_seed():
    features = np.random.default_rng(1).normal(size=(50, 30))
    points = whitened_directions(features, np.ones(30), 3)
    assert points.shape == (50, 16)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(points, whitened_directions(features, np.ones(30), 3))


def test_scale_of_all_features_does_not_matter():
    features = np.random.default_rng(1).normal(size=(40, 8))
    one = whitened_directions(features, np.ones(8), 0)
    other = whitened_directions(100 * features, np.full(8, 100.0), 0)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_copies_and_one_image_have_no_direction():
    assert not whitened_directions(np.ones((5, 3)), np.ones(3), 0).any()
    assert not whitened_directions(np.ones((1, 3)), np.ones(3), 0).any()
    assert len(choose(np.zeros((5, 1)), 3)) == 3
    assert len(choose(np.zeros((1, 1)), 1)) == 1


def test_two_images_and_one_feature():
    points = whitened_directions(np.array([[0.0], [1.0]]), np.ones(1), 0)
    assert len(choose(points, 2)) == 2
