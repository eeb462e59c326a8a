"""Gate, guarantee, label sets, novelty, fusion, clusters: the mathematics of DESIGN §7."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from clusterkit.engine.calibrate import HeldOut, calibrate
from clusterkit.engine.cluster import cluster_refused
from clusterkit.engine.conformal import benjamini_hochberg, label_sets, set_threshold
from clusterkit.engine.fusion import Scores, fit_fusion
from clusterkit.engine.gate import gate_classes
from clusterkit.engine.guarantee import choose_threshold, error_bound, units_needed
from clusterkit.engine.novelty import AppearanceModel, appearance, novelty_p_values


def random_probs(seed: int, n: int, k: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n)


@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.05, 1.0), st.integers(1, 8))
def test_gate_is_the_smallest_set_that_reaches_the_mass(seed, k, mass, most):
    probs = random_probs(seed, 6, k)
    gate = gate_classes(probs, mass, most)
    for row, chosen in zip(probs, gate, strict=True):
        size = chosen.sum()
        assert 1 <= size <= most
        assert row[chosen].min() >= row[~chosen].max(initial=0)
        assert size in (most, k) or row[chosen].sum() >= mass - 1e-9
        if size > 1:
            assert np.sort(row[chosen])[1:].sum() < mass + 1e-9


@given(st.integers(0, 60), st.integers(1, 200), st.floats(0.55, 0.99))
def test_bound_is_clopper_pearsons(errors, extra, level):
    n = errors + extra
    losses = np.r_[np.ones(errors), np.zeros(extra)]
    bound = error_bound(losses, level, binary=True)
    from scipy.stats import binom

    # The bound is the error rate at which so few errors have probability 1 - level.
    assert binom.cdf(errors, n, bound) == pytest.approx(1 - level, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.55, 0.99))
def test_bound_of_fractions_lies_above_their_mean(losses, level):
    bound = error_bound(np.array(losses), level, binary=False)
    assert np.mean(losses) - 1e-9 <= bound <= 1


def test_needed_units():
    for error in (0.02, 0.05, 0.1, 0.2):
        n = units_needed(error, 0.9)
        for binary in (False, True):
            bounds = [error_bound(np.zeros(count), 0.9, binary) for count in (n, n - 1)]
            assert bounds[0] <= error < bounds[1]


@pytest.mark.parametrize("max_error", [0.05, 0.1])
@pytest.mark.parametrize("grouped", [False, True])
def test_promise_is_broken_at_most_as_often_as_it_says(max_error, grouped):
    """400 redraws: the true error above the threshold exceeds E in at most 10% + 2 s.e."""
    rng = np.random.default_rng(7)
    broken = assigned = 0
    redraws, per_unit = 400, 4 if grouped else 1
    for _ in range(redraws):
        # A confidence that is too sure: errors are 1.5 times as common as it says. In a group
        # all images share most of their luck.
        n_units = 150
        confidence = rng.beta(6, 0.6, (n_units, per_unit))
        chance = np.minimum(1, 1.5 * (1 - confidence))
        luck = np.where(grouped, rng.uniform(size=(n_units, 1)), rng.uniform(size=chance.shape))
        correct = luck >= chance
        units = np.repeat(np.arange(n_units), per_unit)
        promise = choose_threshold(confidence.ravel(), correct.ravel(), units, max_error, 0.9)
        if promise.threshold is None:
            continue
        assigned += 1
        fresh = rng.beta(6, 0.6, 20_000)
        accepted = fresh[fresh >= promise.threshold]
        broken += np.minimum(1, 1.5 * (1 - accepted)).mean() > max_error
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / redraws)
    assert assigned > redraws / 4


def test_nothing_is_promised_from_too_few_groups():
    confidence, correct = np.full(400, 0.99), np.ones(400, dtype=bool)
    promise = choose_threshold(confidence, correct, np.repeat(np.arange(20), 20), 0.05, 0.9)
    assert promise.threshold is None
    assert (promise.available, promise.needed, promise.unit) == (20, 45, "group")


def test_label_sets_hold_the_true_label_as_often_as_said():
    """Split-conformal coverage over 300 draws lies in its exact range."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        probs = rng.dirichlet(np.ones(4), size=150)
        labels = np.array([rng.choice(4, p=p) for p in probs])
        true = probs[np.arange(150), labels]
        sets = label_sets(probs[100:], set_threshold(true[:100], 0.9))
        covered.append(sets[np.arange(50), labels[100:]].mean())
    assert 0.89 <= np.mean(covered) <= 0.93


def test_label_sets_of_few_images_hold_everything():
    assert label_sets(random_probs(0, 3, 4), set_threshold(np.full(5, 0.9), 0.9)).all()


def test_novelty_p_values_are_uniform_or_larger_on_exchangeable_images():
    rng = np.random.default_rng(2)
    p_values = np.concatenate(
        [novelty_p_values(rng.normal(size=(20, 2)), rng.normal(size=(99, 2))) for _ in range(200)]
    )
    for level in (0.05, 0.1, 0.3):
        assert (p_values <= level).mean() <= level + 0.01


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40), st.floats(0.01, 0.5))
def test_benjamini_hochberg_against_its_definition(p_values, alpha):
    ranked, n = sorted(p_values), len(p_values)
    passing = [i for i in range(n) if ranked[i] <= alpha * (i + 1) / n]
    limit = ranked[passing[-1]] if passing else -1
    assert benjamini_hochberg(np.array(p_values), alpha).tolist() == [p <= limit for p in p_values]


def test_appearance_sees_another_stain():
    rng = np.random.default_rng(0)
    images = rng.integers(90, 160, (40, 8, 8, 3)).astype(np.uint8)
    strange = images[:5].copy()
    strange[..., 1] = np.minimum(255, strange[..., 1] * 2)
    model = AppearanceModel(appearance(images))
    assert model.score(appearance(strange)).min() > model.score(appearance(images)).max()


def test_fusion_uses_what_tells_and_ignores_noise():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    signal = 2.0 * np.eye(3)[labels] + rng.normal(size=(300, 3))
    noise = rng.normal(size=(300, 3))
    belief = softmax(signal, axis=1)
    vague = softmax(noise, axis=1)
    everything = np.ones((300, 3), dtype=bool)
    best = (signal.argmax(1) == labels).mean()
    for scores in (
        Scores(signal, noise, vague),
        Scores(noise, signal, vague),
        Scores(noise, noise, belief),
    ):
        probs = fit_fusion(scores, labels, 1.0, 3).probs(scores, everything)
        assert (probs.argmax(1) == labels).mean() >= best - 0.02


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_fused_probabilities_stay_inside_the_gate(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 60)
    logits, pooled = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    vote = rng.dirichlet(np.ones(4), size=60)
    vote[rng.random(60) < 0.3] = np.nan
    fusion = fit_fusion(Scores(logits, pooled, vote), labels, 0.7, 3)
    gate = fusion.gate(logits)
    probs = fusion.probs(Scores(logits, np.where(gate, pooled, -np.inf), vote), gate)
    assert np.allclose(probs.sum(1), 1)
    assert (probs[~gate] == 0).all()


def test_calibrated_confidence_is_honest():
    """Confidence from logits that are three times too sure still matches how often it is right."""
    rng = np.random.default_rng(5)
    probs = rng.dirichlet(np.ones(3), size=1500)
    labels = np.array([rng.choice(3, p=p) for p in probs])
    held_out = HeldOut(
        rows=np.arange(1500), logits=3 * np.log(probs), pooled=rng.normal(size=(1500, 3)),
        vote=np.full((1500, 3), np.nan), novelty=np.zeros((1500, 2)), labels=labels,
        units=np.arange(1500), folds=np.arange(1500) % 5,
    )  # fmt: skip
    calibration = calibrate(held_out, np.full(3, 1 / 3), 1.0, 3)
    assert calibration.metrics()["expected_calibration_error"] < 0.05


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
