"""`audit --serve` with several readers: each in an own seat, blind until the own answer."""

import re
import threading
import time
from contextlib import contextmanager

import pandas as pd
import pytest

from clusterkit.auditing.review_file import ReviewFile
from clusterkit.auditing.serve import ReviewServer
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_answers import hold
from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews
from tests.pages import card, write_page

CARDS = [card(n, cluster=None) for n in range(6)]


@contextmanager
def serving(folder, cards=CARDS, shown=None):
    """Serve a page of made-up cards, or of so many of them; gives (server, its reviews.csv)."""
    write_page(folder / "audit", cards[:shown])
    table = pd.DataFrame([
        {"image": c.image, "image_id": c.image_id, "predicted_label": c.predicted_label,
         "cluster": c.cluster, "group": c.group} for c in cards
    ]).astype({"cluster": "Int64"})  # fmt: skip
    reviews = folder / "reviews.csv"
    labelled = pd.DataFrame({"image_id": [], "label": []}, dtype=object)
    file = ReviewFile(reviews, Assigned(table, folder, "assignments.csv"), labelled)
    server = ReviewServer(folder / "audit", file, 0)
    thread = threading.Thread(target=lambda: server.run(lambda url: None))
    thread.start()
    try:
        yield server, reviews
    finally:
        server.shutdown()
        thread.join(10)


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as both:
        yield both


def sit(visit, server, name: str):
    """A reader's own browser with the page, signed."""
    tab = visit(server.url, "http:")
    tab.wait("#saved", "every decision is saved")
    if tab.tab.locator("#seat").is_visible():
        tab.tab.fill("#seat-name", name)
        tab.press("Enter")
    else:
        tab.tab.fill("#reviewer", name)
        tab.press("Escape")
        tab.tab.locator("#reviewer").blur()
    return tab


def answer(tab, keys: str, reviews) -> None:
    for key in keys:
        before = rows_in(reviews)
        for _ in range(5):
            # Where a picture that came has moved the card off the screen, the first key shows it.
            tab.press(key)
            if wait_for_rows(reviews, before + 1, seconds=3):
                break
        assert rows_in(reviews) == before + 1


def rows_in(reviews) -> int:
    return len(read_reviews(reviews)) if reviews.exists() else 0


def wait_for_rows(reviews, count: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while rows_in(reviews) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return rows_in(reviews) >= count


def look_again(tab) -> None:
    """Come back to the tab: it asks at once, and not after its seconds."""
    tab.tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def holding(reviews) -> dict[str, tuple[str, str]]:
    """Which answer holds for each image, as the command `review` reads it: label, reviewer."""
    rows = read_reviews(reviews)
    said = rows.assign(key=rows["image_id"], ground_truth=False)
    found = rows.iloc[hold(said)[0]]
    return {r.image: (r.label, r.reviewer) for r in found.itertuples()}


def test_a_second_reader_is_blind_until_the_answer(served, visit):
    server, reviews = served
    first = sit(visit, server, "Dr A")
    answer(first, "121", reviews)
    second = sit(visit, server, "Dr B")
    assert second.text("#progress") == "0 of 6 decided"
    shown = second.text("#cards > * >> nth=0")
    assert "Dr A has answered" in shown
    assert "Dr A said" not in shown
    answer(second, "11", reviews)
    assert "Dr A said the same" in second.text("#cards > * >> nth=0")
    assert "Dr A said ring" in second.text("#cards > * >> nth=1")
    assert "Dr A said ring" in second.text("#said")
    # Nothing of the first one's is gone, here or there.
    assert first.text("#progress") == "3 of 6 decided"
    look_again(first)
    first.wait("#cards > * >> nth=1", "Dr B said dots")
    assert read_reviews(reviews)["reviewer"].tolist() == ["Dr A"] * 3 + ["Dr B"] * 2


@pytest.mark.slow
def test_the_large_image_says_what_others_said_after_the_answer(served, visit):
    server, reviews = served
    answer(sit(visit, server, "Dr A"), "2", reviews)
    second = sit(visit, server, "Dr B")
    second.tab.click("#start")
    second.wait("#view-said", "px")
    assert "Dr A has answered" in second.text("#focus-decided")
    answer(second, "1", reviews)
    second.press("k")
    second.wait("#focus-decided", "Dr A said ring")
    second.check_access()


def test_readers_who_differ_are_settled_and_counted(served, visit):
    server, reviews = served
    answer(sit(visit, server, "Dr A"), "121212", reviews)
    second = sit(visit, server, "Dr B")
    answer(second, "111112", reviews)
    second.wait("#finish", "of 6 images that both decided, 4 answers agree")
    kappa = float(re.search(r"kappa (-?[\d.]+)", second.text("#finish"))[1])
    assert kappa == pytest.approx(1 / 3, abs=0.006)
    second.tab.get_by_role("button", name="Settle the 2 that differ").click()
    assert second.tab.locator(".card").count() == 2
    answer(second, "21", reviews)
    # An answer given with the other in sight is the one that holds, and no longer differs.
    second.tab.click("#end")
    assert "of 6 images" in second.text("#finish")
    assert not second.tab.get_by_role("button", name="that differ").count()
    rows = read_reviews(reviews)
    assert rows["note"].tolist()[-2:] == ["settled", "settled"]
    found = holding(reviews)
    assert found[CARDS[1].image] == ("ring", "Dr B")
    assert found[CARDS[3].image] == ("dots", "Dr B")


def test_a_new_browser_asks_whose_seat_it_is(served, visit):
    server, reviews = served
    answer(sit(visit, server, "Dr A"), "12", reviews)
    other = visit(server.url, "http:")
    other.tab.locator("#seat[open]").wait_for()
    other.check_access()
    other.tab.get_by_role("button", name="Dr A: 2 answers").click()
    assert other.text("#progress") == "2 of 6 decided"
    assert "Welcome back" in other.text("#said")
    assert other.tab.input_value("#reviewer") == "Dr A"
    other.tab.reload()
    other.wait("#saved", "every decision is saved")
    assert not other.tab.locator("#seat").is_visible()


def test_another_person_at_the_same_browser_gets_a_seat_of_their_own(served, visit):
    server, reviews = served
    tab = sit(visit, server, "Dr A")
    answer(tab, "121", reviews)
    tab.tab.fill("#reviewer", "Dr B")
    tab.tab.locator("#reviewer").blur()
    assert tab.text("#progress") == "0 of 6 decided"
    # What somebody else has decided cannot be taken back here.
    assert tab.tab.locator("#undo").is_disabled()
    tab.tab.fill("#reviewer", " dr  a")
    tab.tab.locator("#reviewer").blur()
    assert tab.text("#progress") == "3 of 6 decided"


def test_two_without_names_are_told(served, visit):
    server, reviews = served
    first, second = (visit(server.url, "http:") for _ in range(2))
    for tab in (first, second):
        tab.wait("#saved", "every decision is saved")
    answer(first, "1", reviews)
    look_again(second)
    second.wait("#said.alarm", "Somebody without a name answers here too")


def test_only_what_nobody_has_answered(served, visit):
    server, reviews = served
    answer(sit(visit, server, "Dr A"), "12", reviews)
    second = sit(visit, server, "Dr B")
    second.tab.click("#filters summary")
    second.tab.select_option("#done", "nobody")
    assert second.tab.locator(".card").count() == 4


def name_cluster(tab, name: str) -> None:
    tab.tab.click("[data-tab=clusters]")
    tab.tab.fill(".naming input >> nth=0", name)
    tab.press("Enter")
    tab.tab.click("#check-name")


def test_the_name_of_a_cluster_is_shown_after_the_own_name(tmp_path, visit):
    with serving(tmp_path, [card(n, cluster=0) for n in range(4)]) as (server, reviews):
        name_cluster(sit(visit, server, "Dr A"), "rosette")
        assert wait_for_rows(reviews, 5)
        second = sit(visit, server, "Dr B")
        second.tab.click("[data-tab=clusters]")
        assert "Dr A has answered" in second.text(".cluster .decided")
        assert "rosette" not in second.text(".cluster .decided")
        name_cluster(second, "ring")
        second.wait(".cluster .decided", "Dr A said rosette")


def test_what_is_undone_no_longer_holds(served, visit):
    server, reviews = served
    tab = sit(visit, server, "Dr A")
    answer(tab, "1", reviews)
    time.sleep(1.1)  # the seconds of the rows differ
    tab.press("k")
    answer(tab, "2", reviews)
    time.sleep(1.1)
    answer(tab, "u", reviews)
    assert holding(reviews) == {CARDS[0].image: ("dots", "Dr A")}


def test_a_name_that_is_put_back_holds_for_images_beyond_the_page_too(tmp_path, visit):
    with serving(tmp_path, shown=4) as (server, reviews):
        beyond = CARDS[5]
        row = [beyond.image_id, beyond.image, "rosette", "relabel", "Dr A", "2026-01-01T00:00:00Z"]
        table = pd.DataFrame([[*row, ""]], columns=list(REVIEW_COLUMNS))
        table.to_csv(reviews, index=False)
        tab = visit(server.url, "http:")
        tab.tab.get_by_role("button", name="Dr A: 1 answer").click()
        tab.tab.evaluate("addName('rosette'); rename('rosette', 'star')")
        assert wait_for_rows(reviews, 2)
        assert holding(reviews) == {beyond.image: ("star", "Dr A")}
        time.sleep(1.1)  # the seconds of the rows differ
        tab.press("Control+z")
        assert wait_for_rows(reviews, 3)
        assert holding(reviews) == {beyond.image: ("rosette", "Dr A")}


def test_a_file_of_another_reader_keeps_its_name(served, visit, tmp_path):
    server, reviews = served
    tab = sit(visit, server, "Dr A")
    answer(tab, "12", reviews)
    rows = read_reviews(reviews).assign(reviewer="Dr C", label="ring", decision="relabel")
    rows[list(REVIEW_COLUMNS)].to_csv(tmp_path / "theirs.csv", index=False)
    tab.tab.set_input_files("#file", tmp_path / "theirs.csv")
    tab.tab.click("#compare-settle")
    assert tab.tab.locator(".card").count() == 1
    assert "Dr C said ring" in tab.text(".card")
    assert wait_for_rows(reviews, 4)
    answer(tab, "2", reviews)
    found = read_reviews(reviews)
    assert found["reviewer"].tolist() == ["Dr A", "Dr A", "Dr C", "Dr C", "Dr A"]
    assert tab.text("#progress") == "2 of 6 decided"
