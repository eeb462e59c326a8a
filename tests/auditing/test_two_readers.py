"""A second reader's file: agreement, the disagreements alone, and nothing replaced unasked."""

import re

import pytest
from sklearn.metrics import cohen_kappa_score

from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews
from tests.pages import card, write_page

MINE, THEIRS = "1122121122", "1122122212"


@pytest.fixture
def compared(visit, tmp_path):
    """The page of ten images after one reader, and the file of another."""
    page = write_page(tmp_path / "audit", [card(n) for n in range(10)])
    tab = visit(page.as_uri())
    tab.tab.select_option("#sort", "image")
    tab.tab.fill("#reviewer", "A")
    tab.press("Escape")
    for key in MINE:
        tab.press(key)
    tab.press("Escape")
    tab.export(tmp_path / "mine.csv")
    rows = read_reviews(tmp_path / "mine.csv").sort_values("image", ignore_index=True)
    names = {key: rows["label"][MINE.index(key)] for key in "12"}
    rows = rows.assign(label=[names[key] for key in THEIRS], decision="relabel", reviewer="Dr B")
    rows[list(REVIEW_COLUMNS)].to_csv(tmp_path / "theirs.csv", index=False)
    tab.tab.set_input_files("#file", tmp_path / "theirs.csv")
    tab.tab.wait_for_selector("#compare[open]")
    return tab, names, tmp_path


def labels(tab, path):
    tab.press("Escape")
    tab.export(path)
    return read_reviews(path).sort_values("image")["label"].tolist()


def test_agreement_is_said(compared):
    tab, _, _ = compared
    text = tab.text("#compare-text")
    assert "of 10 images that both decided, 7 answers agree" in text
    shown = float(re.search(r"kappa (-?[\d.]+)", text)[1])
    assert shown == pytest.approx(cohen_kappa_score(list(MINE), list(THEIRS)), abs=0.006)


@pytest.mark.parametrize(("which", "kept"), [("mine", MINE), ("theirs", THEIRS)])
def test_one_of_the_two_is_taken(compared, which, kept):
    tab, names, folder = compared
    tab.tab.click(f"#compare-{which}")
    assert labels(tab, folder / "out.csv") == [names[key] for key in kept]


def test_the_next_answer_settles(compared):
    tab, names, folder = compared
    tab.tab.click("#compare-settle")
    assert tab.tab.locator(".card").count() == 3
    assert "; Dr B: " in tab.text(".card .decided >> nth=0")
    tab.press("2")
    assert "Dr B" not in tab.text(".card .decided >> nth=0")
    first = next(n for n, (a, b) in enumerate(zip(MINE, THEIRS, strict=True)) if a != b)
    found = labels(tab, folder / "out.csv")
    assert found[first] == names["2"]
    assert found[:first] == [names[key] for key in MINE[:first]]
