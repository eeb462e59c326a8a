"""Calibration: the choice of inputs, and honest confidence."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from clusterkit.errors import RunError
from clusterkit.methods.calibration import Calibration, HeldOut, calibrate
from clusterkit.methods.fusion import Scores
from clusterkit.methods.lapse import Lapse


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


def test_fusion_is_fitted_in_float32_and_the_promise_measured_as_assign_computes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    nothing, rows = np.full((120, 3), np.nan), np.arange(120)
    plain = Scores(2.0 * np.eye(3)[labels] + rng.normal(size=(120, 3)), rng.normal(size=(120, 3)),
                   nothing)  # fmt: skip
    rounded = replace(plain, logits=plain.logits + rng.normal(0, 0.2, (120, 3)))
    novelty, even = np.zeros((120, 2)), np.full(3, 1 / 3)
    alone = calibrate(HeldOut(rows, plain, novelty, labels, rows, rows % 5), even, 1.0, 3)
    both = calibrate(HeldOut(rows, rounded, novelty, labels, rows, rows % 5, plain), even, 1.0, 3)
    assert both.fusion == alone.fusion
    assert (both.chosen, both.inputs) == (alone.chosen, alone.inputs)
    assert 0 < np.abs(both.probs - alone.probs).max() < 0.5


def test_lapses_change_no_label_no_order_and_no_threshold():
    calibration = calibrate(scored(1, 200, "logits"), np.full(3, 1 / 3), 0.95, 3)
    lapsed = calibration.lapsed()
    assert 0 < calibration.lapse.rate < 0.05
    np.testing.assert_array_equal(lapsed.predicted, calibration.predicted)
    np.testing.assert_array_equal(np.argsort(lapsed.confidence), np.argsort(calibration.confidence))
    first, second = (c.promise(0.3, 0.9) for c in (calibration, lapsed))
    assert (first.accepted, first.errors) == (second.accepted, second.errors)
    assert second.threshold == pytest.approx(calibration.lapse(np.array([[first.threshold]]))[0, 0],
                                             abs=calibration.lapse.rate)  # fmt: skip
    # Once is enough.
    np.testing.assert_array_equal(lapsed.lapsed().probs, lapsed.probs)


def test_runs_of_before_lapse_not():
    calibration = calibrate(scored(2, 60, "logits"), np.full(3, 1 / 3), 0.95, 3)
    values = calibration.to_dict()
    again = Calibration.from_dict(values)
    assert (again.lapse, again.fusion) == (calibration.lapse, calibration.fusion)
    del values["lapse"], values["fusion"]["outside"]
    old = Calibration.from_dict(values)
    assert (old.lapse, old.fusion.outside) == (Lapse(0.0), 0.0)
    np.testing.assert_array_equal(old.lapsed().probs, old.probs)
    assert 0 <= old.metrics(0.9)["top_calibration_error"] <= 1
    for damaged in (-0.1, 2, "much", float("nan")):
        with pytest.raises(RunError, match=r"calibration\.json"):
            Calibration.from_dict(values | {"lapse": damaged})


def test_the_surest_are_no_surer_than_they_are_right():
    """A classifier that is surer than it is right, and a gate with one class for most images."""
    rng, k = np.random.default_rng(3), 4
    gaps = []
    for _ in range(5):
        labels = rng.integers(0, k, 2000)
        seen = np.where(rng.random(2000) < 0.06, rng.integers(0, k, 2000), labels)
        logits = 9.0 * np.eye(k)[seen] + rng.normal(size=(2000, k))
        scores = Scores(logits, rng.normal(size=(2000, k)), np.full((2000, k), np.nan))
        rows = np.arange(2000)
        held_out = HeldOut(rows, scores, np.zeros((2000, 2)), labels, rows, rows % 5)
        gaps.append(calibrate(held_out, np.full(k, 1 / k), 0.95, 5).metrics(0.9))
    assert np.mean([g["top_calibration_error"] for g in gaps]) < 0.04
    assert np.mean([g["expected_calibration_error"] for g in gaps]) < 0.04
