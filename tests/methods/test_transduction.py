"""Transduction: a batch's images help each other where held-out labels gain, and only there."""

import numpy as np
import pytest

from clusterkit.methods.risk_control import choose_threshold
from clusterkit.methods.transduction import LabelledNodes, refine


class Crowd:
    """n labelled images and a batch in k clusters, and noisy probabilities of classifiers."""

    def __init__(self, seed, n, m, k=3, right=0.75, spread=0.15):
        self.rng, self.n, self.k = np.random.default_rng(seed), n, k
        self.labels = self.rng.integers(0, k, n + m)
        self.points = np.eye(k)[self.labels] + self.rng.normal(0, spread, (n + m, k))
        self.right, self.units = right, np.arange(n)
        self.own = self.said()

    def said(self):
        """A classifier's probabilities (n + m, k)."""
        chance = self.rng.integers(0, self.k, len(self.labels))
        said = np.where(self.rng.random(len(self.labels)) < self.right, self.labels, chance)
        return 0.6 * np.eye(self.k)[said] + 0.4 / self.k

    @property
    def nodes(self):
        n = self.n
        return LabelledNodes(
            self.labels[:n], self.units % 5, self.own[:n], np.arange(n), self.units
        )

    def refine(self, of_batch=None):
        batch = self.own[self.n :]
        asked = of_batch or (lambda fold: batch)
        return refine(self.points, self.nodes, asked, self.own, np.full(self.k, 1 / self.k))


def test_images_of_one_kind_mend_each_others_labels():
    crowd = Crowd(0, 200, 400)
    found, refined, said = crowd.refine()
    assert found is not None
    assert said.gain > 0
    truth = crowd.labels[200:]
    before = (crowd.own[200:].argmax(axis=1) != truth).mean()
    assert (refined[200:].argmax(axis=1) != truth).mean() < before / 4


def test_neighbours_that_tell_nothing_are_left_aside():
    losses, used = [], 0
    for seed in range(12):
        crowd = Crowd(seed, 60, 140)
        crowd.points = crowd.rng.permutation(crowd.points)
        found, refined, _ = crowd.refine()
        used += found is not None
        truth = crowd.labels[60:]
        losses.append((refined[60:].argmax(axis=1) != truth).mean()
                      - (crowd.own[60:].argmax(axis=1) != truth).mean())  # fmt: skip
        if found is None:
            np.testing.assert_array_equal(refined, crowd.own)
    # Where chance held-out gains let it through, its weights are small.
    assert np.mean(losses) < 0.01
    assert used <= 6


def right_without_sense(seed, fold_of):
    """How many of 100 held-out images are right, of labels that nothing tells.

    Classifiers learn by heart. `fold_of` says whose classifier a fold asks about the batch.
    """
    n, crowd = 100, Crowd(seed, 100, 300, k=2)
    crowd.points = crowd.rng.normal(size=(400, 2))
    crowd.labels = crowd.rng.integers(0, 2, 400)
    distance = ((crowd.points[:, None] - crowd.points[None, :n]) ** 2).sum(axis=2)

    def by_heart(fold):
        known = np.where(crowd.units % 5 == fold, np.inf, distance)
        return 0.8 * np.eye(2)[crowd.labels[known.argmin(axis=1)]] + 0.1

    crowd.own = by_heart(-1)
    for fold in range(5):
        held_out = np.flatnonzero(crowd.units % 5 == fold)
        crowd.own[held_out] = by_heart(fold)[held_out]
    _, refined, _ = crowd.refine(lambda fold: by_heart(fold_of(fold))[n:])
    return (refined[:n].argmax(axis=1) == crowd.labels[:n]).mean()


def test_a_batch_tells_held_out_images_nothing_of_their_labels():
    right = [right_without_sense(seed, lambda fold: fold) for seed in range(20)]
    assert np.mean(right) < 0.5 + 2 * np.std(right) / np.sqrt(len(right)) + 0.01
    # As it would if each fold asked the classifier of all labels.
    told = [right_without_sense(seed, lambda fold: -1) for seed in range(6)]
    assert np.mean(told) > 0.55


def test_the_label_of_a_held_out_image_hardly_changes_what_is_said_of_it():
    """It takes part in the weights of the three opinions that others' are joined with, no more."""
    crowd = Crowd(1, 100, 200)
    first, before, _ = crowd.refine()
    crowd.labels[0] = (crowd.labels[0] + 1) % 3
    second, after, _ = crowd.refine()
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(before[0], after[0], atol=0.02)


@pytest.mark.parametrize("units", [np.zeros(5, dtype=int), np.arange(5)])
@pytest.mark.parametrize("batch", [0, 1, 2, 3])
@pytest.mark.parametrize("labels", [[0] * 5, [0, 1, 0, 1, 0]])
def test_small_and_uniform_batches(units, batch, labels):
    probs = np.full((5 + batch, 2), 0.5)
    nodes = LabelledNodes(np.array(labels), np.array([0, 0, 1, 1, -1]), probs[:5],
                          np.arange(4), units[:4])  # fmt: skip
    own = np.delete(probs, 0, axis=0)
    points = np.ones((5 + batch, 3))
    _, refined, _ = refine(points, nodes, lambda fold: probs[5:], own, np.ones(2) / 2)
    np.testing.assert_allclose(refined.sum(axis=1), 1)
    assert refined.shape == own.shape


def test_one_class_has_nothing_to_gain():
    ones = np.ones((6, 1))
    nodes = LabelledNodes(np.zeros(3, int), np.arange(3), ones[:3], np.arange(3), np.arange(3))
    found, refined, _ = refine(ones, nodes, lambda fold: ones[3:], ones, np.ones(1))
    assert found is None
    np.testing.assert_array_equal(refined, ones)


@pytest.mark.slow
def test_a_promise_holds_after_transduction():
    """Images of one draw: the error among the assigned is above E in no more than 1 of 10."""
    redraws, broken, max_error = 60, 0, 0.1
    for seed in range(redraws):
        n = 80
        crowd = Crowd(seed, n, 150, spread=0.4)
        _, refined, _ = crowd.refine()
        confidence, said = refined.max(axis=1), refined.argmax(axis=1)
        correct = said == crowd.labels
        promise = choose_threshold(confidence[:n], correct[:n], np.arange(n), max_error, 0.9)
        if promise.threshold is not None:
            taken = confidence[n:] >= promise.threshold
            broken += taken.any() and (~correct[n:][taken]).mean() > max_error
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.09 / redraws)
