"""The order in which a person is asked, and what is said of the clusters."""

import json

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clusterkit import assign, read_assignments
from clusterkit.cli import _main
from clusterkit.inference.cluster_summaries import summarise_clusters
from clusterkit.inference.evidence import Evidence
from clusterkit.methods.active_learning import order_questions


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


def test_cluster_summaries_against_a_plain_loop():
    rng = np.random.default_rng(4)
    reduced = rng.normal(size=(20, 3))
    table = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(20)],
            "image_id": [f"id{i}" for i in range(20)],
            "cluster": pd.array([*[0] * 8, *[1] * 5, 2, 3, *[None] * 5], dtype="Int64"),
            "predicted_label": rng.choice(["a", "b"], 20),
        }
    )
    found = summarise_clusters(table, Evidence({"reduced": reduced}))
    assert [(c["cluster"], c["size"]) for c in found] == [(0, 8), (1, 5)]
    for cluster in found:
        rows = [i for i in range(20) if table["cluster"][i] is not pd.NA
                and table["cluster"][i] == cluster["cluster"]]  # fmt: skip
        mean = sum(reduced[i] for i in rows) / len(rows)
        best = min(rows, key=lambda i: ((reduced[i] - mean) ** 2).sum())
        assert (cluster["medoid"], cluster["medoid_id"]) == (f"{best}.png", f"id{best}")
        counts = {x: sum(table["predicted_label"][i] == x for i in rows) for x in "ab"}
        assert cluster["labels"] == {k: v for k, v in counts.items() if v}
        assert list(cluster["labels"].values()) == sorted(cluster["labels"].values(), reverse=True)


def test_order_in_assignments(assignment, run, config, sample, tmp_path):
    table = read_assignments(assignment.path)
    assert table.columns[-1] == "order"
    asked = table[table["order"].notna()]
    assert len(asked) > 5
    assert set(asked["status"]) <= {"review", "novel"}
    assert sorted(asked["order"]) == list(range(1, len(asked) + 1))
    assert not asked["image_id"].duplicated().any()
    summary = json.loads(assignment.path.with_suffix(".json").read_text())
    sizes = table["cluster"].value_counts()
    assert {c["cluster"]: c["size"] for c in summary["cluster_summaries"]} == {
        int(n): int(size) for n, size in sizes.items() if size >= 2
    }
    # Everything is assigned: there is nothing to ask.
    from clusterkit.config import override

    all_of_it = override(config, assign__max_error="none")
    result = assign(run, sample / "unlabeled.csv", config=all_of_it, out=tmp_path / "a.csv")
    assert result.table["order"].isna().all()


def test_an_older_file_without_order_is_read(assignment, tmp_path):
    old = pd.read_csv(assignment.path, dtype=str, keep_default_na=False).drop(columns="order")
    old.to_csv(tmp_path / "old.csv", index=False)
    table = read_assignments(tmp_path / "old.csv")
    assert table["order"].isna().all()
    assert len(table) == len(assignment.table)


def test_ask_prints_the_first_questions(run, sample, assignment, tmp_path, capsys):
    arguments = ["assign", str(sample / "unlabeled.csv"), "--run", str(run.path), "--ask", "3",
                 "--out", str(tmp_path / "a.csv")]  # fmt: skip
    assert _main([*arguments, "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)["ask"]
    table = read_assignments(tmp_path / "a.csv").set_index("order")
    assert [q["image"] for q in asked] == [table.loc[n, "image"] for n in (1, 2, 3)]
    assert list(asked[0]) == ["order", "image", "image_id", "predicted_label", "confidence",
                              "label_set"]  # fmt: skip
    assert _main(arguments) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ask ")]
    assert [line.split()[2] for line in lines] == [q["image"] for q in asked]
    assert _main([*arguments[:4], *arguments[6:], "--json"]) == 0
    assert "ask" not in json.loads(capsys.readouterr().out)


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
