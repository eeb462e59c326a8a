"""Plots: what is on them, whatever the names and however many the images are."""

import io
import sys
import xml.etree.ElementTree as ET
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
from clusterkit.auditing.plotting.overview import draw_plots, remove_other_plots
from clusterkit.auditing.plotting.plots import class_counts_plot, confusion_plot
from clusterkit.errors import ClusterkitError
from clusterkit.methods.calibration import Calibration

LONG = [f"class {i} $x_{i}$ 癌 \n of a rather long and descriptive name" for i in range(60)]


HOSTILE = [
    "</svg><script>alert(1)</script>", "<!--", "]]>", "&lt;b&amp;", "$\\frac{", "a\x00b\uffff",
    "\u202egpj.exe", "\u200f\u05e9\u05dc\u05d5\u05dd", "\ud800", 'x" onload="alert(1)',
    'style="fill: #1a1d21"', "n" * 300, "\u7b2c\u4e09\u7a2e\u306e\u7d30\u80de" * 9, "",
]  # fmt: skip

# All that a plot may be made of.
DRAWN = {"svg", "style", "defs", "g", "path", "use", "text", "image", "clipPath", "rect", "pattern"}


def parts(path) -> list[ET.Element]:
    """Return the elements of a plot, which can do nothing but be seen."""
    found = list(ET.parse(path).iter())
    assert {part.tag.rpartition("}")[2] for part in found} <= DRAWN
    for part in found:
        names = [name.rpartition("}")[2] for name in part.attrib]
        assert not [name for name in names if name.startswith("on")]
        for name, value in part.attrib.items():
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
    return found


def texts(path) -> list[str]:
    return [part.text for part in parts(path) if part.tag.endswith("}text")]


def size(path) -> tuple[float, float]:
    """Return height and width of a plot, in points."""
    root = parts(path)[0]
    return tuple(float(root.get(name).removesuffix("pt")) for name in ("height", "width"))


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
    confusion_plot(counts, LONG[:n], tmp_path / "confusion.svg")
    labelled = pd.Series(rng.integers(0, 50, n), index=LONG[:n], dtype=int)
    now = pd.DataFrame({"review": rng.integers(0, 9, n), "assigned": rng.integers(0, 9, n)},
                       index=LONG[:n])  # fmt: skip
    class_counts_plot(labelled, now, tmp_path / "counts.svg")
    keys = np.repeat(LONG[:n], 3)
    accuracy_plot(accuracy_by(keys, rng.uniform(size=3 * n) < 0.8), tmp_path / "accuracy.svg")
    sizes = {path.name: size(path) for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["accuracy.svg", "confusion.svg", "counts.svg"]
    assert max(max(both) for both in sizes.values()) < 1300
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000


def test_a_class_that_only_the_batch_has_is_counted_too(tmp_path):
    """Assignments that somebody edited may name a class that the run does not have."""
    now = pd.DataFrame({"assigned": [3], "odd": [2]}, index=["new"])
    class_counts_plot(pd.Series({"old": 5}), now, tmp_path / "a.svg")
    class_counts_plot(pd.Series({"old": 5}), now[[]].iloc[:0], tmp_path / "b.svg")
    assert size(tmp_path / "a.svg")[0] > size(tmp_path / "b.svg")[0]


def test_only_the_worst_groups_have_a_bar(tmp_path):
    table = accuracy_by([f"g{i:03}" for i in range(200)], np.arange(200) > 4)
    accuracy_plot(table, tmp_path / "many.svg", "group")
    accuracy_plot(table.head(MOST), tmp_path / "few.svg", "group")
    assert abs(size(tmp_path / "many.svg")[0] - size(tmp_path / "few.svg")[0]) < 20


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
    text = embedding_map(*clouds(n, m, k), tmp_path / "map.svg", method="pca")
    parts(tmp_path / "map.svg")
    if n + m < 3:
        assert text == "There are too few images for a map."
    else:
        assert text.startswith(f"Map of {n} labelled images")
        assert "in 20 dimensions" in text


def test_map_is_the_same_each_time_and_says_how_much_it_shows(tmp_path):
    data = clouds(30, 50)
    first = embedding_map(*data, tmp_path / "a.svg", method="pca")
    assert embedding_map(*data, tmp_path / "b.svg", method="pca") == first
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    points = np.concatenate([data[0], data[2]])
    scaled = (points - points.mean(0)) / (points.std(0) + 1e-3)
    values = np.linalg.svd(scaled, compute_uv=False) ** 2
    assert f"They show {values[:2].sum() / values.sum():.0%} of the variance" in first


def test_a_map_of_many_images_stays_small(tmp_path):
    embedding_map(*clouds(4000, 1000), tmp_path / "map.svg", method="pca")
    assert (tmp_path / "map.svg").stat().st_size < 600_000


def test_plots_are_the_same_each_time(tmp_path):
    now = pd.DataFrame({"review": [3, 1], "assigned": [2, 2]}, index=["a", "b"])
    for name in ("a", "b"):
        class_counts_plot(pd.Series({"a": 5, "b": 1}), now, tmp_path / f"{name}.svg")
    written = (tmp_path / "a.svg").read_bytes()
    assert written == (tmp_path / "b.svg").read_bytes()
    # Neither who drew it nor when.
    assert b"metadata" not in written


def test_hostile_names_are_text_in_a_plot(tmp_path):
    k = len(HOSTILE)
    counts = np.diag(np.arange(1, k + 1))
    confusion_plot(counts, HOSTILE, tmp_path / "hostile.svg")
    confusion_plot(counts, [f"name {i}" for i in range(k)], tmp_path / "plain.svg")
    tags = [[part.tag for part in parts(tmp_path / f"{n}.svg")] for n in ("hostile", "plain")]
    # An empty name has no text, which is an element in a group.
    assert len(tags[1]) - len(tags[0]) == 2
    found = " ".join(texts(tmp_path / "hostile.svg"))
    for name in ("<!--", "]]>", "&lt;b&amp;", r"$\frac{", "a\ufffdb\ufffd", "\ufffdgpj.exe",
                 "\ufffd\u05e9\u05dc\u05d5\u05dd", "\u7b2c\u4e09\u7a2e"):  # fmt: skip
        assert name in found
    assert 'style="fill: #1a1d21"' in found
    assert max(len(text.strip()) for text in texts(tmp_path / "hostile.svg")) < 40
    # A table of pandas holds no half of a surrogate pair.
    whole = [name for name in HOSTILE if name != "\ud800"]
    now = pd.DataFrame({"assigned": 1}, index=whole)
    class_counts_plot(pd.Series(2, index=whole), now, tmp_path / "c.svg")
    accuracy_plot(accuracy_by(whole, np.ones(len(whole), dtype=bool)), tmp_path / "a.svg")
    points = np.random.default_rng(0).normal(size=(k, 4))
    names = np.array(HOSTILE, dtype=object)
    embedding_map(points, names, points, np.array(["novel"] * k), names, tmp_path / "m.svg")
    for name in "cam":
        assert len(parts(tmp_path / f"{name}.svg")) > 20


def test_colours_follow_the_theme(tmp_path, visit):
    path = tmp_path / "a.svg"
    accuracy_plot(accuracy_by(["a", "b"], np.array([True, False])), path)
    page = tmp_path / "index.html"
    page.write_text(
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src 'self' "
        'file: data:"><img src=a.svg>'
    )
    brightness = {}
    for scheme in ("light", "dark"):
        tab = visit(page.as_uri(), color_scheme=scheme).tab
        shot = tab.locator("img").screenshot()
        with Image.open(io.BytesIO(shot)) as picture:
            pixels = np.asarray(picture.convert("L")).astype(int)
        # The ground, and what is written on it.
        brightness[scheme] = np.median(pixels), pixels[-14:].min(), pixels[-14:].max()
    ground, darkest, _ = brightness["light"]
    assert (ground > 250, darkest < 90) == (True, True)
    ground, _, brightest = brightness["dark"]
    assert (ground < 50, brightest > 170) == (True, True)


def test_only_our_plots_of_an_earlier_audit_are_removed(tmp_path):
    folder = tmp_path / "plots"
    folder.mkdir()
    for name in ("map.png", "confusion.png", "accuracy-by-group.svg", "map.svg", "mine.png",
                 "map.png.txt"):  # fmt: skip
        (folder / name).write_text("x")
    (folder / "class-counts.png").symlink_to(folder / "mine.png")
    (folder / "reliability.png").mkdir()
    remove_other_plots(tmp_path, [("plots/map.svg", "A map.")])
    assert sorted(path.name for path in folder.iterdir()) == [
        "class-counts.png", "map.png.txt", "map.svg", "mine.png", "reliability.png",
    ]  # fmt: skip


def test_map_of_images_that_are_all_the_same(tmp_path):
    same = np.ones((5, 4)), np.array(["a"] * 5), np.ones((2, 4)), np.array(["novel"] * 2)
    text = embedding_map(*same, np.array(["a", "b"]), tmp_path / "map.svg", method="pca")
    assert "They show 0% of the variance" in text


@pytest.mark.slow
def test_umap_is_used_where_it_is_installed(tmp_path, monkeypatch):
    data = clouds(30, 10)
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    assert "principal components" in embedding_map(*data, tmp_path / "a.svg")
    with pytest.raises(ClusterkitError, match="pip install umap-learn"):
        embedding_map(*data, tmp_path / "a.svg", method="umap")
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
    assert "by UMAP" in embedding_map(*data, tmp_path / "b.svg")
    assert made["random_state"] == 0
    # A graph of a handful of points says nothing.
    few = [part[:5] for part in data]
    assert "principal components" in embedding_map(*few, tmp_path / "c.svg")


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
        parts(tmp_path / path)
    # What a reader asks first stands first.
    assert next(iter(plots)) == "plots/accuracy-by-class.svg"
    assert not list(tmp_path.rglob("*.partial"))
    right, n = int(calibration.correct.sum()), len(calibration.labels)
    assert f"{right} of {n} are right" in plots["plots/confusion.svg"]
    groups = run.manifest["group"].iloc[calibration.rows].to_numpy()
    worst = min(set(groups), key=lambda g: calibration.correct[groups == g].mean())
    share = calibration.correct[groups == worst].mean()
    for caption in (plots["plots/accuracy-by-group.svg"], plots["plots/map.svg"]):
        assert f"{100 * share:.0f}% of " in caption
        assert " groups: " in caption
    assert "and 7 of this batch" in plots["plots/map.svg"]
    labelled = run.manifest["label"].value_counts()
    given = assignment.table[assignment.table["status"].isin(["assigned", "duplicate"])]
    for name in run.classes:
        own = int((given["predicted_label"] == name).sum())
        assert f"{name} {labelled[name]} and {own}" in plots["plots/class-counts.svg"]
