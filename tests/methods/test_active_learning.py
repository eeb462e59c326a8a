"""Active learning: the order in which a person is asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clusterkit.methods.active_learning import choose_compared, order_questions


def certain(n: int, first: float) -> np.ndarray:
    """Probabilities (n, 2) whose first class has `first`."""
    return np.tile([first, 1 - first], (n, 1))


def ask(probs, reduced, groups=None, unknown=None, most=1000, labelled=None) -> np.ndarray:
    n, width = len(probs), np.shape(reduced)[1]
    labelled = np.zeros((0, width)) if labelled is None else np.asarray(labelled, dtype=float)
    groups = np.full(n, "") if groups is None else np.array(groups)
    unknown = np.zeros(n, dtype=bool) if unknown is None else np.array(unknown)
    return order_questions(
        probs, np.asarray(reduced, dtype=np.float32), groups, unknown, labelled, most
    )


@settings(deadline=None)
@given(
    features=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 25), st.integers(1, 4)),
        elements=st.floats(-10, 10, width=32),
    ),
    most=st.integers(1, 30),
    data=st.data(),
)
def test_order_counts_from_one_and_never_asks_twice(features, most, data):
    n = len(features)
    first = data.draw(hnp.arrays(float, n, elements=st.floats(0, 1)))
    groups = data.draw(hnp.arrays(object, n, elements=st.sampled_from(["", "p", "q"])))
    unknown = data.draw(hnp.arrays(bool, n))
    known = features[: data.draw(st.integers(0, n))]
    order = ask(np.c_[first, 1 - first], features, groups.astype(str), unknown, most, known)
    asked = np.sort(order[order > 0])
    assert asked.tolist() == list(range(1, len(asked) + 1))
    assert 1 <= len(asked) <= min(n, most)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    chosen = np.flatnonzero(order)
    apart = cosine[np.ix_(chosen, chosen)][~np.eye(len(chosen), dtype=bool)]
    assert (apart < 0.99 + 1e-5).all()
    # What is not asked although there was room is nearly the same as something that is.
    if len(asked) < most:
        left = np.flatnonzero(order == 0)
        assert (cosine[np.ix_(left, chosen)].max(axis=1, initial=-1) > 0.99 - 1e-5).all()


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_order_does_not_depend_on_the_rows_order(places):
    rng = np.random.default_rng(0)
    features, probs = rng.normal(size=(12, 5)), rng.dirichlet([1, 1, 1], 12)
    groups = np.array(["p", "q", ""])[rng.integers(0, 3, 12)]
    plain = ask(probs, features, groups)
    moved = ask(probs[list(places)], features[list(places)], groups[list(places)])
    assert moved.tolist() == plain[list(places)].tolist()


def test_the_uncertain_come_first():
    features = np.eye(4)
    probs = np.concatenate([certain(1, p) for p in (0.9, 0.55, 0.99, 0.7)])
    assert ask(probs, features).tolist() == [3, 1, 4, 2]


def test_what_is_like_nothing_labelled_is_as_uncertain_as_can_be():
    probs = np.concatenate([certain(1, p) for p in (1.0, 0.6)])
    assert ask(probs, np.eye(2), unknown=[True, False]).tolist() == [1, 2]
    assert ask(probs, np.eye(2)).tolist() == [2, 1]


def test_the_dense_come_before_the_odd():
    crowd = np.array([1.0, 0, 0]) + 0.3 * np.random.default_rng(1).normal(size=(30, 3))
    features = np.r_[[[-1.0, 0.2, 0.1]], crowd]
    order = ask(certain(31, 0.5), features)
    assert order[0] > 1


def test_second_question_goes_elsewhere_and_to_another_patient():
    rng = np.random.default_rng(2)
    spots = [np.eye(4)[i] + 0.1 * rng.normal(size=(6, 4)) for i in range(3)]
    order = ask(certain(18, 0.5), np.concatenate(spots))
    first = np.argsort(np.where(order, order, 99))[:3] // 6
    assert sorted(first) == [0, 1, 2]
    # Equally uncertain, dense and apart: the patient decides.
    order = ask(certain(3, 0.5), np.eye(3), ["p", "p", "q"])
    assert order.tolist() == [1, 3, 2]


def test_what_is_labelled_already_is_asked_last():
    order = ask(certain(3, 0.5), np.eye(3), labelled=[[0.9, 0.1, 0], [0.1, 0.1, 5]])
    assert order.tolist()[1] == 1


def test_copies_are_one_question_and_nothing_breaks_on_no_or_many_images():
    assert (ask(certain(5, 0.5), np.ones((5, 3))) > 0).sum() == 1
    assert (ask(certain(5, 0.5), np.zeros((5, 3))) > 0).sum() == 5
    assert len(ask(np.zeros((0, 2)), np.zeros((0, 3)))) == 0
    rng = np.random.default_rng(3)
    order = ask(rng.dirichlet([1, 1], 6000), rng.normal(size=(6000, 8)), most=20)
    assert order.max() == 20


def test_benchmark_orders_choose_distinct_rows():
    from benchmarks.questions import ORDERS, Pool

    rng = np.random.default_rng(5)
    pool = Pool(
        rng.dirichlet([1, 1, 1], 60),
        rng.normal(size=(60, 4)),
        rng.normal(size=(9, 4)),
        np.full(60, ""),
        rng,
    )
    for name, order in ORDERS.items():
        chosen = order(pool, 7)
        assert len(set(chosen.tolist())) == 7, name


@settings(deadline=None)
@given(hnp.arrays(float, st.integers(1, 40), elements=st.floats(0, 1)), st.integers(1, 50))
def test_of_many_images_the_most_uncertain_and_evenly_some_others_are_compared(worth, most):
    compared = choose_compared(worth, most)
    assert compared.sum() == min(most, len(worth))
    surest = np.sort(worth)[::-1][: most // 2]
    assert np.array_equal(np.sort(worth[compared])[::-1][: len(surest)], surest)


def test_what_is_like_nothing_labelled_is_among_those_compared():
    worth = np.r_[np.full(500, 0.5), np.ones(10), np.full(500, 0.2)]
    compared = choose_compared(worth, 100)
    assert compared[500:510].all()
    # And the others from everywhere.
    assert compared[510:].sum() > 10
