"""The same sets, p-values and bounds as MAPIE, crepes and scipy compute."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin

from clusterkit.methods.fdr import benjamini_hochberg
from clusterkit.methods.novelty import combine, novelty_p_values
from clusterkit.methods.outcomes import interval_of
from clusterkit.methods.prediction_sets import class_set_thresholds, label_sets, set_threshold
from clusterkit.methods.risk_control import choose_threshold, error_bound, units_needed

CASES = [(seed, n, k) for seed, n in enumerate((12, 40, 99, 250)) for k in (2, 3, 7)]


def drawn(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Held-out probabilities (n, k) with labels, probabilities (60, k) of new images, levels."""
    rng = np.random.default_rng(1000 * k + seed)
    probs, new = rng.dirichlet(np.full(k, 0.6), n), rng.dirichlet(np.full(k, 0.6), 60)
    labels = np.array([rng.choice(k, p=p) for p in probs])
    # Each class occurs: the oracles look at those that they have seen only.
    labels[:k] = np.arange(k)
    # (n + 1) * level is a whole number for no drawn level, on which rounding could decide.
    return probs, labels, new, rng.uniform(0.55, 1 - 1 / n, 5)


def true_probs(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return probs[np.arange(len(labels)), labels]


class Given(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose input are the probabilities that it returns."""

    def __init__(self, k: int = 2) -> None:
        self.k, self.classes_ = k, np.arange(k)

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return np.asarray(x)

    def predict(self, x):
        return np.asarray(x).argmax(axis=1)


def likeliest_too(sets: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Sets (N, K) with the likeliest class in each, which clusterkit never leaves out."""
    return sets | (np.arange(probs.shape[1]) == probs.argmax(axis=1)[:, None])


@pytest.mark.parametrize(("seed", "n", "k"), CASES)
def test_label_sets_are_those_of_mapie(seed, n, k):
    classification = pytest.importorskip("mapie.classification", reason="needs MAPIE")
    probs, labels, new, levels = drawn(seed, n, k)
    for level in [*levels, *(x for x in (0.8, 0.9, 0.95) if n * (1 - x) >= 1)]:
        oracle = classification.SplitConformalClassifier(
            Given(k), confidence_level=level, conformity_score="lac", prefit=True
        )
        oracle.conformalize(probs, labels)
        sets = oracle.predict_set(new)[1][:, :, 0]
        found = label_sets(new, set_threshold(true_probs(probs, labels), level))
        assert (found == likeliest_too(sets, new)).all(), level


@pytest.mark.parametrize(("seed", "n", "k"), CASES)
def test_label_sets_are_those_of_crepes(seed, n, k):
    crepes = pytest.importorskip("crepes", reason="needs crepes")
    probs, labels, new, levels = drawn(seed, n, k)
    true = true_probs(probs, labels)
    oracle = crepes.ConformalClassifier().fit(1 - true)
    for level in levels:
        sets = oracle.predict_set(1 - new, confidence=level, smoothing=False) == 1
        assert (label_sets(new, set_threshold(true, level)) == likeliest_too(sets, new)).all()
    # More than n images would be needed: all classes, as with p-values that cannot be so small.
    level = (n + 1.5) / (n + 2)
    assert oracle.predict_set(1 - new, confidence=level, smoothing=False).all()
    assert label_sets(new, set_threshold(true, level)).all()


@pytest.mark.parametrize(("seed", "n", "k"), [case for case in CASES if case[1] >= 99])
def test_sets_per_class_are_the_mondrian_ones_of_crepes(seed, n, k):
    crepes = pytest.importorskip("crepes", reason="needs crepes")
    probs, _, new, _ = drawn(seed, n, k)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    true = true_probs(probs, labels)
    oracle = crepes.ConformalClassifier().fit(1 - true, bins=labels)
    for level in rng.uniform(0.55, 1 - 2 / (n // k), 5):
        thresholds = class_set_thresholds(true, labels, k, level)
        assert len(set(thresholds)) == k
        sets = np.stack([
            oracle.predict_p(1 - new[:, [c]], bins=np.full(len(new), c), smoothing=False)[:, 0]
            for c in range(k)
        ], axis=1) >= 1 - level  # fmt: skip
        assert (label_sets(new, thresholds) == likeliest_too(sets, new)).all()


@pytest.mark.parametrize("m", [1, 20, 199])
@pytest.mark.parametrize("kinds", [1, 2])
def test_novelty_p_values_are_the_conformal_ones_of_crepes(m, kinds):
    crepes = pytest.importorskip("crepes", reason="needs crepes")
    rng = np.random.default_rng(m)
    held_out, new = rng.normal(size=(m, kinds)), rng.normal(1, 1, size=(80, kinds))
    scores, known = combine(new, held_out)
    oracle = crepes.ConformalClassifier().fit(known)
    wanted = oracle.predict_p(scores[:, None], smoothing=False)[:, 0]
    assert novelty_p_values(new, held_out) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 45, 300])
@pytest.mark.parametrize("level", [0.55, 0.9, 0.95, 0.99])
def test_bound_of_errors_is_scipys_exact_one_sided_interval(n, level):
    for errors in {0, 1, n // 10, n // 2, n - 1, n}:
        losses = np.arange(n) < errors
        exact = stats.binomtest(errors, n, alternative="less").proportion_ci(level, "exact")
        assert error_bound(losses.astype(float), level) == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize("n", [1, 5, 45, 300])
@pytest.mark.parametrize("level", [0.55, 0.9, 0.99])
def test_bounds_are_the_p_values_of_mapies_risk_control(n, level):
    """The bound is the risk at which the binomial p-value falls to 1 - level."""
    methods = pytest.importorskip("mapie.risk_control.methods", reason="needs MAPIE")
    rng = np.random.default_rng(n)
    for _ in range(10):
        wrong = (rng.uniform(size=n) < 0.2).astype(float)
        if wrong.mean() < 1:
            bound = error_bound(wrong, level)
            found = methods.compute_hoeffding_bentkus_p_value(
                np.array([wrong.mean()]), n, bound, True
            )
            assert float(found[0, 0]) == pytest.approx(1 - level, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_threshold_is_the_last_that_mapies_fixed_sequence_rejects(seed):
    risk_control = pytest.importorskip("mapie.risk_control", reason="needs MAPIE")
    methods = pytest.importorskip("mapie.risk_control.methods", reason="needs MAPIE")
    rng = np.random.default_rng(seed)
    n, max_error, level = 400, 0.1, 0.9
    confidence = rng.beta(5, 0.7, n)
    correct = rng.uniform(size=n) < confidence
    ranked = np.argsort(-confidence)
    counts, count = [], float(units_needed(max_error, level))
    while count < n:
        counts.append(math.ceil(count))
        count *= 1.15
    counts.append(n)
    p_values = [
        methods.compute_hoeffding_bentkus_p_value(
            np.array([(~correct[ranked[:m]]).mean()]), m, max_error, True
        )[0, 0]
        for m in counts
    ]
    rejected = risk_control.control_fwer(np.array(p_values), 1 - level, "fixed_sequence")
    promise = choose_threshold(confidence, correct, np.arange(n), max_error, level)
    assert 0 < len(rejected) < len(counts)
    assert promise.threshold == confidence[ranked[counts[max(rejected)] - 1]]
    assert promise.accepted == counts[max(rejected)]


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.3])
def test_discoveries_are_those_of_scipy(alpha):
    rng = np.random.default_rng(0)
    for n in (1, 10, 200):
        p_values = np.where(rng.uniform(size=n) < 0.3, rng.beta(0.2, 5, n), rng.uniform(size=n))
        wanted = stats.false_discovery_control(p_values) <= alpha
        assert (benjamini_hochberg(p_values, alpha) == wanted).all()


@pytest.mark.parametrize("n", [2, 5, 20])
def test_interval_of_equal_shares_is_scipys_exact_one(n):
    for value in (0, 1):
        exact = stats.binomtest(value * n, n).proportion_ci(0.9, "exact")
        low, high, kind = interval_of(np.full(n, float(value)), 0.9, shares=True)
        assert kind == "exact"
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)
