"""The page shows hostile text as text, needs no network, and says everything once."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from clusterkit.auditing.batch import choose_rows
from clusterkit.auditing.page import Cluster, Match, script_json
from clusterkit.auditing.plotting.plots import (
    confusion_plot,
    reliability_plot,
    risk_coverage_plot,
)
from tests.pages import card, write_page

HOSTILE = ["<script>alert(1)</script>", "</script><b>x", "a\"b'c&d\ne", "<!-- x", "$a_b$", "=1+1"]


def hostile_page(folder, text: str):
    one = card(1, image=text + ".png", predicted_label=text, label_set=[text], gate=[text],
               classifier_label=text, nearest_image=text, nearest_label=text, group=text,
               reason=text, thumb="thumbs/a b#.jpg", matches=[Match(text, text, 0.5)])  # fmt: skip
    return write_page(folder, [one], title=text, run=text, created=text, promise=text, key=text,
                      classes=[text], held_out=[(text, text, text)], checks=[(text, text, text)],
                      plots=[("plots/x.png", text)], facts=[(text, text)], warnings=[text],
                      clusters=[Cluster(1, 2, 1, 1, text, text, {text: 2})])  # fmt: skip


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.data, self.inside = [], "", False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = ("id", "data") in attrs

    def handle_data(self, data):
        if self.inside:
            self.data += data

    def handle_endtag(self, tag):
        self.inside = False


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_never_markup(tmp_path, text):
    plain, hostile = Tags(), Tags()
    plain.feed(hostile_page(tmp_path, "x").read_text())
    page = hostile_page(tmp_path, text).read_text()
    hostile.feed(page)
    assert hostile.tags == plain.tags
    (found,) = json.loads(hostile.data)["cards"]
    assert found["matches"][0]["label"] == text
    assert found["predicted_label"] == text
    assert found["thumb"] == "thumbs/a%20b%23.jpg"
    assert not re.search(r"https?://", page)


def test_one_plot_answers_and_the_others_are_folded(tmp_path):
    three = [(f"plots/{name}.svg", f"Plot {name}.") for name in "abc"]
    answer, _, rest = (
        write_page(tmp_path, [card()], plots=three).read_text().partition(" more plot")
    )
    assert "How good are these labels?" in answer
    assert ("plots/a.svg" in answer, "plots/b.svg" in answer) == (True, False)
    assert answer.endswith("<summary>2")
    assert ("plots/b.svg" in rest, "plots/c.svg" in rest) == (True, True)
    assert "more plot" not in write_page(tmp_path, [card()], plots=three[:1]).read_text()
    assert "<img" not in write_page(tmp_path, [card()], plots=[]).read_text().partition("<main>")[0]


def test_what_could_be_promised_is_a_table_above_the_counts(tmp_path):
    steps = [("5%", "none", "about 12 more labelled <groups>"), ("20%", "14 images", "")]
    page = write_page(tmp_path, [card()], ladder=steps, ladder_notes=["each & by itself"])
    html = page.read_text(encoding="utf-8")
    table, after = html[html.index('<table class="ladder">') :].split("</table>", 1)
    cells = re.findall(r'<t[dh](?: scope="row")?>(.*?)</t[dh]>', table)
    assert cells == ["5%", "none", "about 12 more labelled &lt;groups&gt;", "20%", "14 images", ""]
    assert "each &amp; by itself" in after.split('<div class="bar"')[0]
    without = write_page(tmp_path, [card()]).read_text(encoding="utf-8")
    assert '<table class="ladder">' not in without


def test_json_round_trip():
    values = {"a": HOSTILE, "b": "\u2028\u2029"}
    text = str(script_json(values))
    assert json.loads(text) == values
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize("n", [0, 1, 60])
def test_plots_of_odd_inputs(tmp_path, n):
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(size=n), rng.uniform(size=n) < 0.5
    classes = [f"a $very_ long {'name' * 9} {i}" for i in range(max(2, n))]
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    counts[:n, 0] = 1
    confusion_plot(counts, classes, tmp_path / "c.svg")
    reliability_plot(confidence, correct, tmp_path / "r.svg")
    risk_coverage_plot(confidence, correct, tmp_path / "k.svg", threshold=0.0, max_error=0.1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.svg", "k.svg", "r.svg"]


def test_chosen_rows_hold_every_status_and_the_least_sure():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"status": ["assigned"] * 300 + ["review"] * 50 + ["failed"] * 2,
                          "confidence": rng.uniform(size=352)})  # fmt: skip
    chosen = choose_rows(table, 40, 0)
    assert len(chosen) == len(set(chosen)) == 40
    assert set(table["status"][chosen]) == {"assigned", "review", "failed"}
    assert table["confidence"][:300].idxmin() in chosen
    # The refused come first, up to a share: by the order of questions where there is one.
    refused = table["status"].eq("review").to_numpy()
    assert refused[chosen].sum() >= 24
    asked = table.assign(order=[None] * 300 + [*range(50, 0, -1)] + [None] * 2)
    assert set(range(326, 350)) <= set(choose_rows(asked, 40, 0))
    assert len(choose_rows(table, 1000, 0)) == 352
