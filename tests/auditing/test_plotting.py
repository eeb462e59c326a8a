"""Plots: what is on them, whatever the names and however many the images are."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clusterkit.auditing.batch import read_batch
from clusterkit.auditing.plotting import embedding
from clusterkit.auditing.plotting.accuracy import MOST, accuracy_by, accuracy_plot, accuracy_words
from clusterkit.auditing.plotting.embedding import embedding_map
from clusterkit.auditing.plotting.figures import plain, short, wilson
from clusterkit.auditing.plotting.overview import draw_plots
from clusterkit.auditing.plotting.plots import class_counts_plot, confusion_plot
from clusterkit.errors import ClusterkitError
from clusterkit.methods.calibration import Calibration

LONG = [f"class {i} $x_{i}$ 癌 \n of a rather long and descriptive name" for i in range(60)]


def ink(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"))
    # The page may be dark: the ground is white, and opaque.
    assert (pixels[:2, :2] == 255).all()
    return pixels


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_bounds_hold_the_share_and_solve_its_equation(n, part):
    share = round(part * n) / n
    low, high = wilson(np.array([share]), np.array([n]))
    assert 0 <= low[0] <= share <= high[0] <= 1 + 1e-12
    for bound in (low[0], high[0]):
        # The bounds are where the share is 1.96 standard errors of the bound away.
        if bound != share:
            distance = (share - bound) ** 2
            assert distance == pytest.approx(1.96**2 * bound * (1 - bound) / n, abs=1e-9)


def test_accuracy_by_counts_and_puts_the_worst_first():
    keys = ["a"] * 4 + ["b"] * 2 + ["c"] * 4 + ["", None]
    correct = [1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0]
    table = accuracy_by(keys, np.array(correct, dtype=bool))
    # Half of four is surer than half of two.
    assert table["name"].tolist() == ["a", "b", "c"]
    assert table["right"].tolist() == [2, 1, 4]
    assert table["images"].tolist() == [4, 2, 4]
    assert accuracy_words(table) == "By class: a 50% of 4, b 50% of 2, c 100% of 4."
    assert accuracy_words(table, "group", most=1) == "The worst 1 of 3 groups: a 50% of 4."
    assert (
        accuracy_words(accuracy_by([], np.array([])), "group") == "No held-out image has a group."
    )


@pytest.mark.parametrize("n", [0, 1, 2, pytest.param(60, marks=pytest.mark.slow)])
def test_plots_of_any_number_of_classes(tmp_path, n):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (n, n)) + np.diag(rng.integers(1, 4000, n))
    confusion_plot(counts, LONG[:n], tmp_path / "confusion.png")
    labelled = pd.Series(rng.integers(0, 50, n), index=LONG[:n], dtype=int)
    now = pd.DataFrame({"review": rng.integers(0, 9, n), "assigned": rng.integers(0, 9, n)},
                       index=LONG[:n])  # fmt: skip
    class_counts_plot(labelled, now, tmp_path / "counts.png")
    keys = np.repeat(LONG[:n], 3)
    accuracy_plot(accuracy_by(keys, rng.uniform(size=3 * n) < 0.8), tmp_path / "accuracy.png")
    sizes = {path.name: ink(path).shape for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["accuracy.png", "confusion.png", "counts.png"]
    assert max(max(size) for size in sizes.values()) < 2000


def test_a_class_that_only_the_batch_has_is_counted_too(tmp_path):
    """Assignments that somebody edited may name a class that the run does not have."""
    now = pd.DataFrame({"assigned": [3], "odd": [2]}, index=["new"])
    class_counts_plot(pd.Series({"old": 5}), now, tmp_path / "a.png")
    class_counts_plot(pd.Series({"old": 5}), now[[]].iloc[:0], tmp_path / "b.png")
    assert ink(tmp_path / "a.png").shape[0] > ink(tmp_path / "b.png").shape[0]


def test_only_the_worst_groups_have_a_bar(tmp_path):
    table = accuracy_by([f"g{i:03}" for i in range(200)], np.arange(200) > 4)
    accuracy_plot(table, tmp_path / "many.png", "group")
    accuracy_plot(table.head(MOST), tmp_path / "few.png", "group")
    assert abs(ink(tmp_path / "many.png").shape[0] - ink(tmp_path / "few.png").shape[0]) < 30


def clouds(n: int, m: int, k: int = 3):
    rng = np.random.default_rng(1)
    centres = 4 * rng.normal(size=(k, 20))
    labels, others = rng.integers(0, k, n), rng.integers(0, k, m)
    names = np.array(LONG[:k], dtype=object)
    statuses = rng.choice(["assigned", "review", "novel", "duplicate"], m)
    return (centres[labels] + rng.normal(size=(n, 20)), names[labels],
            centres[others] + rng.normal(size=(m, 20)), statuses, names[others])  # fmt: skip


@pytest.mark.parametrize(("n", "m", "k"), [(0, 0, 1), (2, 0, 2), (3, 1, 1), (40, 60, 12)])
def test_map_of_any_number_of_images(tmp_path, n, m, k):
    text = embedding_map(*clouds(n, m, k), tmp_path / "map.png", method="pca")
    ink(tmp_path / "map.png")
    if n + m < 3:
        assert text == "There are too few images for a map."
    else:
        assert text.startswith(f"Map of {n} labelled images")
        assert "in 20 dimensions" in text


def test_map_is_the_same_each_time_and_says_how_much_it_shows(tmp_path):
    data = clouds(30, 50)
    first = embedding_map(*data, tmp_path / "a.png", method="pca")
    assert embedding_map(*data, tmp_path / "b.png", method="pca") == first
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    points = np.concatenate([data[0], data[2]])
    scaled = (points - points.mean(0)) / (points.std(0) + 1e-3)
    values = np.linalg.svd(scaled, compute_uv=False) ** 2
    assert f"They show {values[:2].sum() / values.sum():.0%} of the variance" in first


def test_map_of_images_that_are_all_the_same(tmp_path):
    same = np.ones((5, 4)), np.array(["a"] * 5), np.ones((2, 4)), np.array(["novel"] * 2)
    text = embedding_map(*same, np.array(["a", "b"]), tmp_path / "map.png", method="pca")
    assert "They show 0% of the variance" in text


def test_umap_is_used_where_it_is_installed(tmp_path, monkeypatch):
    data = clouds(30, 10)
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    assert "principal components" in embedding_map(*data, tmp_path / "a.png")
    with pytest.raises(ClusterkitError, match="pip install umap-learn"):
        embedding_map(*data, tmp_path / "a.png", method="umap")
    made = {}

    class Reducer:
        def __init__(self, **arguments):
            made.update(arguments)

        def fit_transform(self, points):
            return points[:, :2]

    module = ModuleType("umap")
    module.UMAP = Reducer
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(embedding, "find_spec", lambda name: SimpleNamespace())
    assert "by UMAP" in embedding_map(*data, tmp_path / "b.png")
    assert made["random_state"] == 0
    # A graph of a handful of points says nothing.
    few = [part[:5] for part in data]
    assert "principal components" in embedding_map(*few, tmp_path / "c.png")


def test_names_are_plain_text():
    assert plain("a\n b\tc\x00\udcff\u202egpj") == "a b c���gpj"
    assert short("$x$") == r"\$x\$"
    assert len(short("n" * 99)) == 24


def test_all_plots_of_a_run_say_their_numbers(run, assignment, tmp_path):
    batch = read_batch(run, assignment.path)
    calibration = Calibration.from_dict(run.calibration)
    features = dict(enumerate(run.gallery["features"][:7]))
    plots = dict(draw_plots(run, calibration, batch, tmp_path, features))
    for path in plots:
        ink(tmp_path / path)
    assert not list(tmp_path.rglob("*.partial"))
    right, n = int(calibration.correct.sum()), len(calibration.labels)
    assert f"{right} of {n} are right" in plots["plots/confusion.png"]
    groups = run.manifest["group"].iloc[calibration.rows].to_numpy()
    worst = min(set(groups), key=lambda g: calibration.correct[groups == g].mean())
    share = calibration.correct[groups == worst].mean()
    for caption in (plots["plots/accuracy-by-group.png"], plots["plots/map.png"]):
        assert f"{100 * share:.0f}% of " in caption
        assert " groups: " in caption
    assert "and 7 of this batch" in plots["plots/map.png"]
    labelled = run.manifest["label"].value_counts()
    given = assignment.table[assignment.table["status"].isin(["assigned", "duplicate"])]
    for name in run.classes:
        own = int((given["predicted_label"] == name).sum())
        assert f"{name} {labelled[name]} and {own}" in plots["plots/class-counts.png"]
