"""The end of a review, its report on paper, going on later, and names that are much alike."""

import pytest

from clusterkit.formats.reviews import read_reviews
from tests.pages import card, write_page


@pytest.fixture
def page(tmp_path):
    return write_page(tmp_path / "run" / "audit", [card(n) for n in range(12)],
                      counts={"assigned": 40, "review": 20}, total=60, shown=12,
                      assignments="../assignments.csv")  # fmt: skip


def named(tab, text: str) -> None:
    """Write a label for the current card."""
    tab.press("l")
    tab.tab.fill("#label-text", text)
    tab.press("Enter")


def test_the_end_says_what_was_decided_and_what_comes_next(visit, page, tmp_path):
    tab = visit(page.as_uri())
    tab.tab.fill("#reviewer", "A. B.")
    tab.press("Escape")
    tab.press(*"12x1s1a1a1a")
    assert not tab.tab.locator("#finish").is_visible()
    assert tab.text("#progress") == "10 of 12 decided, 1 skipped"
    tab.press("2")
    text = tab.text("#finish")
    assert "All 12 on this page are done" in text
    assert "1 image skipped" in text
    assert "rejected: 1" in text
    assert "ring → dots" in text
    assert "A. B.: 12" in text
    assert "8 of them to decide: clusterkit audit --limit 60" in text
    assert f"clusterkit fit LABELS --reviews {tmp_path}/run/reviews.csv" in text
    assert "send reviews.csv to the person who made it" in text
    with tab.tab.expect_download() as download:
        tab.tab.click("#finish-export")
    download.value.save_as(tmp_path / "r.csv")
    assert len(read_reviews(tmp_path / "r.csv")) == 12
    tab.press("Escape", "u")
    assert not tab.tab.locator("#finish").is_visible()
    tab.tab.click("#end")
    assert "10 of 12 decided" in tab.text("#finish-title")


def test_what_was_decided_here_is_signed_at_the_end(visit, page, tmp_path):
    tab = visit(page.as_uri())
    (tmp_path / "in.csv").write_text(
        f"image_id,label,decision,reviewer\n{card(5).image_id},dots,relabel,\n"
    )
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said", "1 decision read")
    tab.press("a", "x")
    tab.tab.click("#end")
    tab.tab.fill("#finish-text input", "A. B.")
    tab.press("Enter")
    assert "A. B.: 2 · nobody named: 1" in tab.text("#finish")
    tab.export(tmp_path / "r.csv")
    found = read_reviews(tmp_path / "r.csv").set_index("image_id")["reviewer"].to_dict()
    assert found == {card(0).image_id: "A. B.", card(1).image_id: "A. B.", card(5).image_id: ""}


def test_a_review_goes_on_where_it_was_left(visit, page):
    tab = visit(page.as_uri())
    assert tab.text("#start") == "Start: 12 images to decide"
    tab.press(*"axa")
    tab.tab.reload()
    assert "Welcome back: 3 done, 9 open" in tab.text("#said")
    assert tab.text("#start") == "Continue: 9 of 12 images to decide"
    assert "new/0003.png" in tab.text(".current .file")
    tab.press("j", "k", "n")
    assert "new/0003.png" in tab.text(".current .file")


def test_on_paper_it_is_a_report(visit, page):
    tab = visit(page.as_uri())
    tab.tab.fill("#reviewer", "A. B.")
    tab.press("Escape", "a", "x")
    tab.tab.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    tab.tab.emulate_media(media="print")
    text = tab.text("body")
    assert "At most 5% are wrong." in text
    rows = tab.tab.locator("#report tbody tr")
    assert [row.locator("td").all_inner_texts()[:5] for row in rows.all()] == [
        ["new/0000.png", "Needs you: dots", "dots", "accepted", "A. B."],
        ["new/0001.png", "Needs you: ring", "", "rejected", "A. B."],
    ]  # fmt: skip
    assert tab.tab.locator("#cards, footer, .tools, #start").locator("visible=true").count() == 0
    assert tab.tab.locator(".bar").is_visible()


@pytest.mark.parametrize(("written", "meant"), [("rign", "ring"), ("D ots", "dots")])  # fmt: skip
def test_a_name_much_like_another_is_asked_about(visit, page, written, meant):
    tab = visit(page.as_uri())
    named(tab, written)
    assert tab.text("#near-title") == f"Did you mean {meant}?"
    tab.press("y")
    assert tab.tab.locator("#digits button").count() == 2
    assert f": {meant}" in tab.text(".card .decided >> nth=0")
    named(tab, written)
    tab.press("n")
    assert tab.text(".card .decided >> nth=1") == f"labelled: {written}"
    # A name that is known is not asked about, and one unlike all others neither.
    for text in (written, "grade 1", "grade 2"):
        named(tab, text)
        assert not tab.tab.locator("#near").is_visible()


def test_a_cluster_name_is_asked_about_too(visit, page):
    tab = visit(page.as_uri())
    tab.tab.click("[data-tab=clusters]")
    tab.press("l")
    tab.tab.keyboard.type("rings")
    # The name, what it was meant to be, and a look at some of the images.
    tab.press("Enter", "Enter", "Enter")
    assert "labelled: ring" in tab.text(".card .decided >> nth=0")


def test_a_name_made_here_is_changed_and_merged_and_taken_back(visit, page, tmp_path):
    tab = visit(page.as_uri())
    for text in ("rosette", "flower", "rosette"):
        named(tab, text)
    tab.tab.click("#own")
    assert [f.input_value() for f in tab.tab.locator("#own-list input").all()] == [
        "rosette", "flower",
    ]  # fmt: skip
    tab.tab.locator("#own-list input").first.fill("star")
    tab.press("Enter")
    assert tab.text(".card .decided >> nth=2") == "labelled: star"
    # Merged: the number that is left is nobody's, and the other names keep theirs.
    tab.tab.locator("#own-list input").nth(0).fill("flower")
    tab.press("Enter")
    tab.press("Escape")
    assert tab.tab.locator("#digits button").all_inner_texts() == ["1dots", "2ring", "4flower"]
    tab.export(tmp_path / "r.csv")
    assert read_reviews(tmp_path / "r.csv")["label"].tolist() == ["flower"] * 3
    tab.press("3")
    assert tab.text(".card .decided >> nth=3") == "not decided"
    tab.tab.reload()
    assert tab.tab.locator("#digits button").all_inner_texts() == ["1dots", "2ring", "4flower"]
    tab.press("u", "u")
    assert tab.text("#said") == "Undone: 2 decisions"
    assert tab.tab.locator("#digits button").all_inner_texts()[2:] == ["3rosette", "4flower"]
    assert tab.text(".card .decided >> nth=1") == "labelled: flower"
    tab.press("Control+Shift+z")
    assert tab.text(".card .decided >> nth=0") == "labelled: star"
