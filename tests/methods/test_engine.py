"""Gate, guarantee, label sets, novelty, fusion, clusters: the mathematics of DESIGN §7."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from clusterkit.data.appearance import measure_appearance
from clusterkit.methods.calibration import HeldOut, calibrate
from clusterkit.methods.clustering import cluster_refused
from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.fusion import Scores, fit_fusion
from clusterkit.methods.gate import gate_classes
from clusterkit.methods.novelty import AppearanceModel, novelty_p_values
from clusterkit.methods.prediction_sets import (
    class_set_thresholds,
    crossed_coverage,
    label_sets,
    set_threshold,
)
from clusterkit.methods.risk_control import (
    choose_class_thresholds,
    choose_threshold,
    error_bound,
    units_needed,
)


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


def test_promises_for_each_class_hold_together():
    """300 redraws: the chance that any class's true error is above E is at most 1 - C."""
    rng = np.random.default_rng(11)
    redraws, broken, assigned = 300, 0, 0
    for _ in range(redraws):
        confidence = rng.beta(6, 0.6, 400)
        predicted = rng.integers(0, 2, 400)
        # The second class is wrong three times as often as it says.
        chance = np.minimum(1, np.where(predicted == 1, 3, 1) * (1 - confidence))
        correct = rng.uniform(size=400) >= chance
        promises = choose_class_thresholds(
            confidence, predicted, correct, np.arange(400), 0.1, 0.9, 2
        )
        fresh = rng.beta(6, 0.6, 20_000)
        any_broken = False
        for factor, promise in zip((1, 3), promises, strict=True):
            if promise.threshold is not None:
                assigned += 1
                accepted = fresh[fresh >= promise.threshold]
                any_broken |= np.minimum(1, factor * (1 - accepted)).mean() > 0.1
        broken += any_broken
    assert broken / redraws <= 0.1 + 2 * np.sqrt(0.09 / redraws)
    assert assigned > redraws


def test_a_rare_class_cannot_hide_behind_a_common_one():
    predicted = np.repeat([0, 1], [300, 60])
    confidence, correct = np.full(360, 0.99), predicted == 0
    together = choose_threshold(confidence, correct, np.arange(360), 0.25, 0.9)
    each = choose_class_thresholds(confidence, predicted, correct, np.arange(360), 0.25, 0.9, 2)
    assert together.threshold is not None
    assert each[0].threshold is not None
    assert each[1].threshold is None
    assert each[1].more is None


def test_how_many_more_labels_it_takes():
    """With as many more as it says and errors as before, the promise can be made."""
    correct = np.ones(60, dtype=bool)
    confidence = np.linspace(1, 0.5, 60)
    correct[[40, 50, 55]] = False
    promise = choose_threshold(confidence, correct, np.arange(60), 0.1, 0.9)
    assert promise.threshold is not None
    assert promise.more > 0
    factor = 1 + promise.more // 60 + 1
    many = choose_threshold(
        np.tile(confidence, factor), np.tile(correct, factor), np.arange(60 * factor), 0.1, 0.9
    )
    assert many.threshold < promise.threshold
    assert choose_threshold(confidence[:9], correct[:9], np.arange(9), 0.1, 0.9).more == 22 - 9
    sure = choose_threshold(confidence, np.ones(60, dtype=bool), np.arange(60), 0.1, 0.9)
    assert sure.more == 0


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


def test_label_sets_hold_a_rare_class_as_often_as_a_common_one():
    rng = np.random.default_rng(4)
    covered, marginal = [], []
    for _ in range(200):
        labels = (rng.random(600) < 0.1).astype(int)
        # The rare class looks like the common one more often than not.
        x = rng.normal(size=600) + 1.2 * labels
        probs = 1 / (1 + np.exp(-(1.2 * x - 3)))
        probs = np.stack([1 - probs, probs], 1)
        true = probs[np.arange(600), labels]
        known, rare = slice(0, 300), np.flatnonzero(labels[300:] == 1) + 300
        thresholds = class_set_thresholds(true[known], labels[known], 2, 0.9)
        covered += list(label_sets(probs[rare], thresholds)[:, 1])
        marginal += list(label_sets(probs[rare], set_threshold(true[known], 0.9))[:, 1])
    assert np.mean(covered) >= 0.88
    assert np.mean(marginal) < 0.7


def test_many_rare_classes_do_not_lower_the_level_of_label_sets():
    """Classes with too few images for a threshold of their own share one, of theirs alone."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple:
        labels = np.where(rng.random(n) < 0.85, rng.integers(0, 2, n), rng.integers(2, 7, n))
        true = np.where(labels < 2, rng.uniform(0.35, 1, n), rng.uniform(0, 0.2, n))
        probs = np.zeros((n, 7))
        probs[np.arange(n), np.where(labels < 2, 1 - labels, 0)] = 1 - true
        probs[np.arange(n), labels] = true
        return probs, labels, true

    covered = []
    for _ in range(100):
        _, labels, true = draw(100)
        probs, truth, _ = draw(500)
        sets = label_sets(probs, class_set_thresholds(true, labels, 7, 0.9))
        covered.append(sets[np.arange(500), truth].mean())
    assert np.mean(covered) >= 0.89


def test_reported_coverage_is_that_of_new_images():
    rng = np.random.default_rng(8)
    probs = rng.dirichlet(np.ones(4), size=600)
    labels = np.array([rng.choice(4, p=p) for p in probs])
    coverage, size = crossed_coverage(probs, labels, np.arange(600), 0.9)
    assert coverage == pytest.approx(0.9, abs=0.04)
    assert 1 < size < 4
    # One unit: nothing can be measured apart, and all classes are in every set.
    assert crossed_coverage(probs, labels, np.zeros(600, dtype=int), 0.9) == (1.0, 4.0)


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
    model = AppearanceModel.of(measure_appearance(images))
    assert (
        model.score(measure_appearance(strange)).min()
        > model.score(measure_appearance(images)).max()
    )


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


def scored(seed: int, n: int, signal: str) -> HeldOut:
    """Held-out scores of three classes in which only one input, or none, tells anything."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    tells = 2.5 * np.eye(3)[labels] + rng.normal(size=(n, 3))
    noise = {name: rng.normal(size=(n, 3)) for name in ("logits", "pooled", "vote")}
    given = noise | ({signal: tells} if signal else {})
    given["vote"] = softmax(given["vote"], axis=1)
    return HeldOut(
        rows=np.arange(n), scores=Scores(**given), novelty=np.zeros((n, 2)), labels=labels,
        units=np.arange(n), folds=np.arange(n) % 5,
    )  # fmt: skip


def without_votes(held_out: HeldOut) -> HeldOut:
    return replace(
        held_out, scores=replace(held_out.scores, vote=np.full_like(held_out.scores.vote, np.nan))
    )


@pytest.mark.parametrize("signal", ["logits", "pooled", "vote"])
def test_fusion_is_never_worse_than_its_best_input(signal):
    even = np.full(3, 1 / 3)
    losses = []
    for seed in range(5):
        held_out = scored(seed, 150, signal)
        alone = getattr(held_out.scores, signal).argmax(axis=1) == held_out.labels
        losses.append(alone.mean() - calibrate(held_out, even, 1.0, 3).metrics(0.9)["accuracy"])
    assert np.mean(losses) <= 0.01


def test_a_handful_of_units_do_not_choose_the_inputs():
    held_out = without_votes(scored(0, 9, "pooled"))
    assert calibrate(held_out, np.full(3, 1 / 3), 1.0, 3).chosen == "classifier"
    assert calibrate(scored(0, 90, "pooled"), np.full(3, 1 / 3), 1.0, 3).chosen != "classifier"


def test_neighbours_are_heard_where_held_out_images_gain_by_them():
    even = np.full(3, 1 / 3)
    assert calibrate(scored(0, 9, "vote"), even, 1.0, 3).chosen == "classifier+neighbours"
    assert calibrate(scored(0, 90, "logits"), even, 1.0, 3).chosen == "classifier"


def test_held_out_images_against_a_classifier_make_it_unsure_not_upside_down():
    """A few patients on whom the classifier is always wrong: its order of classes stays."""
    held_out = without_votes(scored(0, 8, "logits"))
    held_out = replace(held_out, labels=held_out.scores.logits.argmin(axis=1))
    calibration = calibrate(held_out, np.full(3, 1 / 3), 1.0, 3)
    scores = held_out.scores
    probs = calibration.fusion.probs(scores, np.ones((8, 3), dtype=bool))
    assert (probs.argmax(1) == scores.logits.argmax(1)).all()
    assert probs.max() < 0.8


def test_calibrated_confidence_is_honest():
    """Confidence from logits that are three times too sure still matches how often it is right."""
    rng = np.random.default_rng(5)
    probs = rng.dirichlet(np.ones(3), size=1500)
    labels = np.array([rng.choice(3, p=p) for p in probs])
    held_out = HeldOut(
        rows=np.arange(1500),
        scores=Scores(3 * np.log(probs), rng.normal(size=(1500, 3)), np.full((1500, 3), np.nan)),
        novelty=np.zeros((1500, 2)), labels=labels,
        units=np.arange(1500), folds=np.arange(1500) % 5,
    )  # fmt: skip
    calibration = calibrate(held_out, np.full(3, 1 / 3), 1.0, 3)
    assert calibration.metrics(0.9)["expected_calibration_error"] < 0.05


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
