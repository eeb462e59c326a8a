"""The certify page from a server: answers are in reviews.csv at once, none lost, none doubled."""

import time
from dataclasses import replace

import pytest

from clusterkit.formats.reviews import read_reviews
from tests.certify_pages import CLASSES, answer, asked, begin, key_of, page_of, seen, serving


@pytest.fixture
def page():
    return page_of(asked(240), budget=240)


@pytest.fixture
def served(page, tmp_path):
    with serving(tmp_path, page) as found:
        yield found


def rows_of(served, count: int):
    """The rows of reviews.csv, once there are so many."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = read_reviews(served.reviews) if served.reviews.exists() else []
        if len(found) >= count:
            break
        time.sleep(0.05)
    assert len(found) == count
    return found


def test_an_answer_is_in_the_file_at_once(visit, served, page):
    tab = visit(served.start(), "http:")
    begin(tab)
    for count in range(1, 4):
        answer(tab, page)
        rows_of(served, count)
    answer(tab, page, " ")
    found = rows_of(served, 4)
    tab.wait("#saved", "saved")
    assert found["image_id"].tolist() == [image.image_id for image in page.images[:4]]
    assert found["note"].tolist() == ["", "", "", "can't tell"]
    assert set(found["assignments"]) == {page.fingerprint}
    assert not tab.tab.is_visible("#export")


def test_closed_midway_and_opened_elsewhere(visit, served, page):
    address = served.start()
    tab = visit(address, "http:")
    begin(tab)
    for _ in range(3):
        answer(tab, page)
    rows_of(served, 3)
    tab.tab.close()
    # Another browser, which has kept nothing.
    again = visit(address, "http:")
    again.wait("#saved", "saved")
    again.tab.fill("#reader", "Dr A")
    again.wait("#welcome", "3 answered")
    again.tab.click("#start")
    assert answer(again, page) == 3
    rows_of(served, 4)


def test_a_server_that_was_gone_gets_what_it_missed(browser, served, page):
    """Killed and started anew at another address of the same port; the tab is closed meanwhile."""
    context = browser.new_context()
    tab = Plain(context, served.start())
    begin(tab)
    for _ in range(2):
        answer(tab, page)
    rows_of(served, 2)
    served.stop()
    for _ in range(2):
        answer(tab, page)
    tab.wait("#saved", "NOT saved yet")
    assert "Kept in this browser; go on." in tab.text("#saved")
    tab.tab.close()
    assert len(read_reviews(served.reviews)) == 2
    tab = Plain(context, served.start())
    found = rows_of(served, 4)
    tab.wait("#welcome", "4 answered")
    assert found["image_id"].tolist() == [image.image_id for image in page.images[:4]]
    begin(tab)
    assert answer(tab, page) == 4
    rows_of(served, 5)
    context.close()


def test_an_answer_whose_receipt_is_lost_is_written_once(browser, served, page):
    context = browser.new_context()
    tab = Plain(context, served.start())
    begin(tab)
    answer(tab, page)
    rows_of(served, 1)
    lost = []

    def lose(route):
        # It reaches the file; the browser hears nothing of it.
        if route.request.method == "POST" and len(lost) < 1:
            lost.append(route.fetch().status)
            return route.abort()
        return route.continue_()

    tab.tab.route("**/reviews", lose)
    answer(tab, page)
    tab.wait("#saved", "NOT saved yet")
    answer(tab, page)
    tab.tab.wait_for_timeout(200)
    tab.tab.wait_for_function("() => !waiting.length")
    found = rows_of(served, 3)
    assert lost == [200]
    assert found["image_id"].tolist() == [image.image_id for image in page.images[:3]]
    context.close()


def test_awkward_names_are_not_written_twice(visit, page, tmp_path):
    names = ["  two  blanks.png", "=1+1.png", 'a "quote", and\nline.png', "'apostrophe.png"]
    images = [replace(i, image=names[n % 4]) for n, i in enumerate(page.images)]
    with serving(tmp_path, replace(page, images=images)) as served:
        address = served.start()
        tab = visit(address, "http:")
        begin(tab, "  Dr   A ")
        for _ in range(4):
            answer(tab, page)
        rows_of(served, 4)
        tab.tab.reload()
        tab.wait("#saved", "saved")
        begin(tab, "dr a")
        assert answer(tab, page) == 4
        rows_of(served, 5)


def test_two_readers_side_by_side(visit, served, page):
    address = served.start()
    first, second = visit(address, "http:"), None
    begin(first)
    for _ in range(3):
        answer(first, page)
    rows_of(served, 3)
    second = visit(address, "http:")
    second.wait("#saved", "saved")
    second.tab.fill("#reader", "Dr B")
    second.wait("#second", "Read the same 3 images")
    second.tab.click("#second")
    for _ in range(3):
        number = seen(second)
        second.press(key_of(CLASSES[0] if number == 0 else page.images[1].predicted_label))
    second.wait("#end-title", "second reading is done")
    found = rows_of(served, 6)
    assert found["reviewer"].tolist() == ["Dr A"] * 3 + ["Dr B"] * 3
    # The first reader's page hears of it: until it is settled, a disagreement is a difference.
    first.tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    first.wait("#counts", "1 different")
    second.wait("#settle", "Settle 1 disagreement")
    second.tab.click("#settle")
    seen(second)
    second.press(key_of("dots"))
    assert rows_of(served, 7)["note"].tolist()[-1] == "settled"
    first.tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    first.wait("#counts", "0 different")


def test_a_refused_row_is_said(browser, served, page):
    table = served.assigned.table.drop(index=1).reset_index(drop=True)
    served.assigned = replace(served.assigned, table=table)
    context = browser.new_context()
    tab = Plain(context, served.start())
    begin(tab)
    for _ in range(3):
        answer(tab, page)
    tab.wait("#saved", "1 answer NOT saved")
    found = rows_of(served, 2)
    assert found["image_id"].tolist() == [page.images[0].image_id, page.images[2].image_id]
    context.close()


class Plain:
    """A tab that may complain: a server that is gone is what its test is about."""

    def __init__(self, context, address: str) -> None:
        self.tab = context.new_page()
        self.tab.goto(address)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def text(self, selector: str) -> str:
        return self.tab.inner_text(selector)

    def wait(self, selector: str, text: str) -> None:
        self.tab.locator(selector).filter(has_text=text).wait_for()
