"""The page: data stays data, every card is there once, nothing reaches for the network."""

import base64
import hashlib
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clusterkit.audit.page import Card, Summary, render_page, script_json
from clusterkit.audit.plots import (
    confusion_plot,
    reliability_plot,
    risk_coverage_plot,
    status_plot,
)

pytestmark = pytest.mark.filterwarnings("error")

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script>",
    "]]>--><svg/onload=alert(1)>",
    "\"double\" 'single' & &lt; `back`",
    "two\nlines\ttab\u2028separator",
    "{{ 7 * 7 }} {% raw %}",
    "läsion 肺炎 🫁 \u202egnp.exe",
    "javascript:alert(1)",
    "//host/share",
]


def card(text: str = "normal", number: int = 0) -> Card:
    return Card(
        image=f"{text}/{number}.png",
        image_id=f"{number:016x}",
        status="review",
        predicted_label=text,
        confidence=0.5,
        label_set=[text, "other"],
        classifier_label=text,
        classifier_probability=0.4,
        similarity=0.6,
        gate=[text],
        nearest_image=f"{text}.png",
        nearest_label=text,
        nearest_similarity=0.97,
        novelty_p=0.2,
        cluster=number % 3,
        group=text,
        duplicate_of="",
        reason=f"Looks like {text}.",
        thumb=f"thumbs/{text}.jpg",
    )


def summary(text: str = "audit") -> Summary:
    return Summary(
        title=text,
        run=text,
        created=text,
        counts={"assigned": 3, "review": 2, "novel": 0, "duplicate": 0, "failed": 1},
        promise=text,
        threshold=0.9,
        held_out=[(text, text, text)],
        plots=[(f"plots/{text}.png", text)],
        facts=[(text, text)],
        shown=6,
        total=60,
        warnings=[text],
    )


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text, scripts."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.scripts = [], [], [], []
        self.comments, self._script = [], None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag == "script":
            self._script = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_data(self, data):
        if self._script is None:
            self.text.append(data)
        else:
            self._script += data


def rendered(folder, cards, top=None) -> tuple[Page, str]:
    path = render_page(folder, cards, top or summary())
    html = path.read_text(encoding="utf-8")
    return Page(html), html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_data_and_never_markup(tmp_path, text):
    plain, _ = rendered(tmp_path, [card()])
    page, _ = rendered(tmp_path, [card(text)], summary(text))
    assert page.tags == plain.tags
    assert not page.comments
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert len(page.scripts) == 2
    assert page.scripts[1] == plain.scripts[1]
    (shown,) = json.loads(page.scripts[0])["cards"]
    assert shown["predicted_label"] == shown["group"] == text
    assert shown["image"] == f"{text}/0.png"
    assert text in "".join(page.text)


@pytest.mark.parametrize("text", HOSTILE)
def test_picture_addresses_stay_inside_the_folder(tmp_path, text):
    top = replace(summary(), plots=[(text, "plot")])
    page, _ = rendered(tmp_path, [replace(card(), thumb=text)], top)
    addresses = [value for tag, name, value in page.attributes if name in ("src", "href")]
    addresses.append(json.loads(page.scripts[0])["cards"][0]["thumb"])
    for address in addresses:
        assert re.fullmatch(r"[A-Za-z0-9%._~-][A-Za-z0-9%._~/-]*", address)


def test_every_card_is_there_once_and_whole(tmp_path):
    cards = [card("a", n) for n in range(5000)]
    page, html = rendered(tmp_path, cards)
    data = json.loads(page.scripts[0])
    assert data["threshold"] == 0.9
    assert [c["image_id"] for c in data["cards"]] == [c.image_id for c in cards]
    assert data["cards"][7] == asdict(cards[7])
    assert html.count("a/4999.png") == 1
    assert "article" not in page.tags


def test_nothing_reaches_for_the_network(tmp_path):
    page, html = rendered(tmp_path, [card()])
    assert not re.search(r"https?:|wss?:|@import|url\(", html)
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert word not in html
    policy = dict((a[1], a[2]) for a in page.attributes if a[0] == "meta")["content"]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_an_empty_page_and_absent_values(tmp_path):
    rendered(tmp_path, [], replace(summary(), counts={}, threshold=None, plots=[], held_out=[]))
    empty = replace(card(), confidence=float("nan"), novelty_p=None, cluster=None, thumb=None)
    page, _ = rendered(tmp_path, [empty])
    (shown,) = json.loads(page.scripts[0])["cards"]
    assert shown["confidence"] is shown["thumb"] is shown["cluster"] is None


def test_a_name_that_is_no_unicode(tmp_path):
    bad = "scan\udcff"
    page, _ = rendered(tmp_path, [card(bad)], summary(bad))
    assert json.loads(page.scripts[0])["cards"][0]["group"] == bad


def test_a_page_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    rendered(tmp_path, [card("first")])
    _, html = rendered(tmp_path, [card("second")])
    assert "first/0.png" not in html
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]


def test_controls_have_names_and_headings_are_in_order(tmp_path):
    page, html = rendered(tmp_path, [card()])
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    for control in re.finditer(r"<(select|input)\b", html):
        before = html[: control.start()]
        assert before.rfind("<label") > before.rfind("</label")


def test_script_json_reads_back():
    values = {"a": "</script><!--&\u2028", "b": [1, None]}
    text = str(script_json(values))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == values


def _size(path):
    with Image.open(path) as image:
        image.verify()
        return image.size


@pytest.mark.parametrize("k", [2, 7, 30, 60])
@pytest.mark.parametrize("name", ["class", "$x$ \\frac", "肺炎 \n _hidden", "long " * 30])
def test_confusion_of_any_classes(tmp_path, k, name):
    counts = np.random.default_rng(0).integers(0, 2000, (k, k))
    confusion_plot(counts, [f"{name}{i}" for i in range(k)], tmp_path / "c.png")
    assert max(_size(tmp_path / "c.png")) <= 2000
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [
        ([], []),
        ([0.5], [False]),
        ([1.0, 1.0], [True, True]),
        ([0.7] * 50, [True, False] * 25),
        ([float("nan"), 0.5], [True, False]),
        (np.linspace(0, 1, 3000), np.arange(3000) % 7 > 0),
    ],
)
@pytest.mark.parametrize(("threshold", "bound"), [(None, None), (0.9, 0.05), (2.0, 1.0)])
def test_curves_of_any_numbers(tmp_path, confidence, correct, threshold, bound):
    confidence, correct = np.array(confidence, dtype=float), np.array(correct, dtype=bool)
    reliability_plot(confidence, correct, tmp_path / "reliability.png")
    risk_coverage_plot(confidence, correct, tmp_path / "risk.png", threshold, bound)
    assert _size(tmp_path / "reliability.png")
    assert _size(tmp_path / "risk.png")


def test_empty_confusion_and_status(tmp_path):
    confusion_plot(np.zeros((0, 0), dtype=int), [], tmp_path / "none.png")
    confusion_plot(np.zeros((3, 3), dtype=int), ["a", "b", "c"], tmp_path / "zeros.png")
    status_plot(pd.DataFrame(), tmp_path / "status.png")
    for name in ("none", "zeros", "status"):
        assert _size(tmp_path / f"{name}.png")


@pytest.mark.parametrize("k", [1, 2, 60])
def test_status_of_any_classes(tmp_path, k):
    counts = pd.DataFrame(
        np.arange(2 * k).reshape(k, 2), index=[f"$ 肺 {i}" for i in range(k)],
        columns=["review", "somethingelse"],
    )  # fmt: skip
    status_plot(counts, tmp_path / "status.png")
    assert _size(tmp_path / "status.png")
