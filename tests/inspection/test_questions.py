"""The page of inspect asks which label is right, and its answers are reviews that fit reads."""

import re

import numpy as np
import pandas as pd
import pytest

from clusterkit import inspect
from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews, spread_reviews
from tests.pictures import clouds


@pytest.fixture
def inspected(tmp_path):
    """Four pictures: one with a copy under another label, one with a brightened one."""
    root, rng, rows = tmp_path / "data", np.random.default_rng(5), []
    root.mkdir()
    for number in range(4):
        picture = clouds(rng)
        picture.save(root / f"{number}.png")
        rows.append((f"{number}.png", "dots", f"p{number}"))
        if number == 1:
            (root / "copy.png").write_bytes((root / "1.png").read_bytes())
            rows.append(("copy.png", "=ring", "p1"))
        if number == 2:
            brighter = picture.point([min(255, round(v * 1.06)) for v in range(256)] * 3)
            brighter.save(root / "brighter.png")
            rows.append(("brighter.png", "ring", "p9"))
    pd.DataFrame(rows, columns=["image", "label", "group"]).to_csv(root / "l.csv", index=False)
    return inspect(root / "l.csv", out=tmp_path / "report")


def section(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def test_only_the_same_bytes_are_a_problem(inspected):
    table = inspected.findings
    own = table[table["kind"] == "conflicting_labels"]
    severity = dict(zip(own["image"], own["severity"], strict=True))
    assert severity == {"1.png": "problem", "copy.png": "problem",
                        "2.png": "note", "brighter.png": "note"}  # fmt: skip
    groups = table[table["kind"] == "duplicate_across_groups"]
    assert set(groups["severity"]) == {"note"}
    page = inspected.page.read_text()
    proven, alike = (
        section(page, "conflicting_labels"),
        section(page, "conflicting_labels-by-looks"),
    )
    assert 'class="tag problem"' in proven
    assert "at least one is wrong" in proven
    assert "brighter.png" not in proven
    assert 'class="tag note"' in alike
    assert "wrong" not in alike
    assert "copy.png" not in alike
    assert "wrong" not in section(page, "duplicate_across_groups-by-looks")


def test_one_sentence_a_finding(inspected):
    page = inspected.page.read_text()
    proven = section(page, "conflicting_labels")
    assert proven.count('class="head"') == 1
    assert "The same bytes are labelled &#39;=ring&#39; and &#39;dots&#39;" in proven
    assert 'class="detail"' not in proven
    assert "2 files are the same, byte for byte." in section(page, "exact_duplicate")


def test_answers_by_key_are_reviews(inspected, visit, tmp_path):
    tab = visit(inspected.page.as_uri())
    assert tab.text("#progress") == "0 of 2 answered"
    tab.tab.fill("#reviewer", "A. B.")
    tab.tab.locator("#reviewer").blur()
    tab.press("k", "j", "k")
    tab.press("2")
    assert tab.text("#progress") == "1 of 2 answered"
    tab.press("b")
    assert "last question" in tab.text("#said")
    tab.press("u")
    assert tab.text("#progress") == "1 of 2 answered"
    tab.press("n", "u", "b")
    tab.tab.reload()
    assert tab.text("#progress") == "2 of 2 answered"
    tab.export(tmp_path / "reviews.csv")
    found = read_reviews(tmp_path / "reviews.csv")
    assert list(found.columns[:7]) == list(REVIEW_COLUMNS)
    assert dict(zip(found["image"], found["label"], strict=True)) in (
        {"1.png": "dots", "2.png": "dots", "brighter.png": "ring"},
        {"copy.png": "dots", "2.png": "dots", "brighter.png": "ring"},
    )
    assert set(found["decision"]) == {"relabel"}
    assert set(found["reviewer"]) == {"A. B."}
    table = inspected.findings
    labelled = table[["image_id", "label"]].drop_duplicates("image_id")
    spread = spread_reviews(tmp_path / "reviews.csv", None, labelled).spread
    assert set(spread["label"]) == {"dots", "ring"}


def test_a_label_that_a_spreadsheet_would_run_comes_back_unchanged(inspected, visit, tmp_path):
    tab = visit(inspected.page.as_uri())
    tab.press("j", "k", "1", "n")
    tab.export(tmp_path / "reviews.csv")
    assert "'=ring" in (tmp_path / "reviews.csv").read_text()
    found = read_reviews(tmp_path / "reviews.csv")
    assert found["label"].tolist() == ["=ring", "", ""]
    assert found["decision"].tolist() == ["relabel", "skip", "skip"]
    assert set(found["note"]) == {"", "can't tell"}


def test_a_key_does_not_decide_on_what_is_not_seen(inspected, visit):
    tab = visit(inspected.page.as_uri(), viewport={"width": 800, "height": 260})
    tab.press("1")
    assert tab.text("#progress") == "0 of 2 answered"
    assert "press the key again" in tab.text("#said")
    tab.press("1")
    assert tab.text("#progress") == "1 of 2 answered"


def test_nothing_is_asked_where_there_is_nothing_to_ask(tmp_path, visit):
    root = tmp_path / "data"
    root.mkdir()
    clouds(np.random.default_rng(0)).save(root / "a.png")
    tab = visit(inspect(root, out=tmp_path / "report").page.as_uri())
    assert not tab.tab.locator("#answers").is_visible()
    tab.press("1", "u", "j")
