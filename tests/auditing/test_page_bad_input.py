"""The page in bad circumstances: each says what to do, and no decision is lost."""

import shutil
from pathlib import Path

import pytest

from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews
from tests.pages import card, write_page

LONG = "adenocarcinoma of the colon, poorly differentiated, " * 6
LONG = LONG[:300]


@pytest.fixture
def page(tmp_path):
    return write_page(tmp_path / "audit", [card(n) for n in range(12)], fingerprint="x0123456789")


@pytest.fixture
def bare_tab(browser):
    """Open a page whose pictures or scripts are missing: the console may complain."""
    contexts = []

    def call(page, script: str = "", **settings):
        contexts.append(browser.new_context(**settings))
        if script:
            contexts[-1].add_init_script(script)
        tab = contexts[-1].new_page()
        tab.goto(page.as_uri())
        return tab

    yield call
    for context in contexts:
        context.close()


def exported(tab, path, selector: str = "#export"):
    with tab.expect_download() as download:
        tab.click(selector)
    download.value.save_as(path)
    return read_reviews(path)


def leaving_asks(tab) -> bool:
    return tab.evaluate("""() => {
        const event = new Event('beforeunload', { cancelable: true });
        dispatchEvent(event);
        return event.defaultPrevented }""")


def test_a_page_moved_without_its_pictures_is_read_and_decided(page, bare_tab, tmp_path):
    (tmp_path / "desk").mkdir()
    tab = bare_tab(Path(shutil.copy(page, tmp_path / "desk")))
    tab.locator("#lost").wait_for()
    assert "move the whole folder" in tab.inner_text("#lost")
    assert "dots" in tab.inner_text(".card h3 >> nth=0")
    tab.keyboard.press("a")
    tab.keyboard.press("Enter")
    tab.locator("#pane-own", has_text="is the folder thumbs beside index.html").wait_for()
    tab.keyboard.press("x")
    tab.keyboard.press("Escape")
    assert exported(tab, tmp_path / "r.csv")["decision"].tolist() == ["accept", "reject"]


def test_pictures_that_are_there_are_not_said_to_be_lost(visit, page):
    tab = visit(page.as_uri())
    tab.press("Enter")
    tab.tab.locator("#pane-own img").wait_for()
    assert not tab.tab.locator("#lost").is_visible()


def test_an_original_that_was_deleted_is_said(tmp_path, bare_tab):
    tab = bare_tab(write_page(tmp_path / "audit", [card(0, full="thumbs/../../data/a.png")]))
    tab.keyboard.press("Enter")
    tab.locator("#view-said").filter(has_text="the large picture is not there any more").wait_for()
    assert not tab.locator("#lost").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1024, 768), (390, 844)])
def test_five_hundred_labels_leave_room_and_are_found_by_typing(visit, tmp_path, size):
    classes = [f"class {n:03d} of the colon" for n in range(500)]
    cards = [card(n, predicted_label=classes[n], label_set=classes, gate=classes)
             for n in range(4)]  # fmt: skip
    page = write_page(tmp_path / "audit", cards, classes=classes)
    tab = visit(page.as_uri(), viewport={"width": size[0], "height": size[1]})
    footer = tab.tab.locator("footer").bounding_box()
    assert footer["height"] <= 0.25 * size[1]
    (found,) = tab.tab.locator("#digits button").all_inner_texts()
    assert found.startswith("one of 500…")
    assert tab.tab.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    assert tab.tab.locator(".card").first.bounding_box()["height"] < 1.2 * size[1]
    tab.press("l")
    tab.tab.keyboard.type("Class 347 of the colon")
    tab.press("Enter")
    tab.tab.locator("#label-dialog").wait_for(state="hidden")
    tab.press("l")
    tab.tab.keyboard.type("008")
    tab.press("Enter")
    tab.tab.locator("#label-dialog").wait_for(state="hidden")
    tab.press("Enter")
    tab.tab.locator("#pane-own img").wait_for()
    for box in tab.tab.locator("#focus button:visible").all()[-3:]:
        assert box.bounding_box()["y"] < size[1]
    tab.press("Escape")
    path = tmp_path / "r.csv"
    with tab.tab.expect_download() as download:
        tab.tab.evaluate("() => exportReviews()")
    download.value.save_as(path)
    assert read_reviews(path)["label"].tolist() == [classes[347], classes[8]]


@pytest.mark.parametrize("width", [1024, 390])
def test_labels_of_three_hundred_letters_are_kept_whole(visit, tmp_path, width):
    cards = [card(n, predicted_label=LONG, label_set=[LONG, "dots"]) for n in range(4)]
    page = write_page(tmp_path / "audit", cards, classes=[LONG, "dots", "x" * 300])
    tab = visit(page.as_uri(), viewport={"width": width, "height": 768})
    assert tab.tab.evaluate("() => document.documentElement.scrollWidth") <= width
    assert (
        tab.tab.evaluate("""() => [...document.querySelectorAll('button, h3, p')].filter((e) =>
        e.checkVisibility() && e.closest('.card')
        && e.getBoundingClientRect().right > e.closest('.card').getBoundingClientRect().right)
        .map((e) => e.outerHTML)""")
        == []
    )
    tab.press("a", "3", "l")
    box = tab.tab.locator("#label-dialog").bounding_box()
    assert box["x"] + box["width"] <= width
    tab.tab.fill("#label-text", LONG.upper())
    tab.press("Enter")
    assert "at most 200 characters, and this one 300" in tab.text("#label-error")
    # A class of the run may be as long as it is.
    tab.tab.fill("#label-text", LONG)
    tab.press("Enter")
    path = tmp_path / "r.csv"
    with tab.tab.expect_download() as download:
        tab.tab.evaluate("() => exportReviews()")
    download.value.save_as(path)
    assert read_reviews(path)["label"].tolist() == [LONG, "x" * 300, LONG]
    # What was exported is taken in again, on a page that does not know the names too.
    other = write_page(tmp_path / "other", [card(n) for n in range(4)], key="f" * 16)
    tab = visit(other.as_uri())
    tab.tab.set_input_files("#file", path)
    tab.wait("#said", "3 decisions read, 3 of them")


def test_a_file_of_another_run_changes_nothing(visit, page, tmp_path):
    head = ",".join([*REVIEW_COLUMNS, "assignments"]) + "\n"
    tab = visit(page.as_uri())
    tab.press("a")
    for row, said in (
        ("ffffffffffffffff,z.png,ring,relabel,,,,xfedcba\n", "none of its images is here"),
        (f"{card(1).image_id},,,accept,,,,xfedcba\n", "write the label"),
        ("cluster:1,,ring,relabel,,,,xfedcba\n", "is of the assignments xfedcba"),
    ):
        (tmp_path / "in.csv").write_text(head + row)
        tab.tab.set_input_files("#file", tmp_path / "in.csv")
        tab.wait("#said", said)
        assert "Nothing was changed" in tab.text("#said")
    tab.export(tmp_path / "r.csv")
    assert read_reviews(tmp_path / "r.csv")["image_id"].tolist() == [card(0).image_id]
    # What another run's reader said of an image that is here is about that image.
    (tmp_path / "in.csv").write_text(head + f"{card(1).image_id},,ring,relabel,,,,xfedcba\n")
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said", "1 decision read, 1 of them")


def passed_on(tab, other) -> None:
    # The browser shows one tab's storage to another after milliseconds: a person takes longer.
    other.wait_for_function("(text) => stored() === text", arg=tab.evaluate("store.text"))


@pytest.mark.slow
def test_two_tabs_lose_nothing_though_neither_hears_of_the_other(page, bare_tab, tmp_path):
    # As of a tab that sleeps, or comes back from the browser's cache.
    deaf = "addEventListener('storage', (event) => event.stopImmediatePropagation(), true)"
    first = bare_tab(page, deaf)
    second = first.context.new_page()
    second.goto(page.as_uri())
    first.keyboard.press("a")
    passed_on(first, second)
    for key in "kjx":
        second.keyboard.press(key)
    passed_on(second, first)
    first.keyboard.press("2")
    first.keyboard.press("u")
    passed_on(first, second)
    second.keyboard.press("s")
    passed_on(second, first)
    for tab in (first, second):
        tab.reload()
        assert tab.inner_text("#progress") == "2 of 12 decided, 1 skipped"
    found = exported(first, tmp_path / "r.csv").set_index("image_id")["decision"].to_dict()
    assert found == {card(0).image_id: "accept", card(1).image_id: "reject",
                     card(2).image_id: "skip"}  # fmt: skip


FORBIDDEN = """Object.defineProperty(window, 'localStorage', {
    get() { throw new DOMException('denied', 'SecurityError') } })"""
FULL = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') }"


@pytest.mark.parametrize("script", [FORBIDDEN, FULL])
def test_storage_that_is_forbidden_or_full_is_said_and_leaving_asks(
    page, bare_tab, tmp_path, script
):
    tab = bare_tab(page, script)
    assert tab.locator("#unkept").is_visible() == (script == FORBIDDEN)
    assert not leaving_asks(tab)
    tab.keyboard.press("a")
    tab.keyboard.press("x")
    assert "does not keep decisions" in tab.inner_text("#unkept")
    assert leaving_asks(tab)
    found = exported(tab, tmp_path / "r.csv", "#unkept-export")
    assert found["decision"].tolist() == ["accept", "reject"]
    assert not leaving_asks(tab)
    # The first brings the card back onto the screen, from which the button has scrolled.
    tab.keyboard.press("a")
    tab.keyboard.press("a")
    assert leaving_asks(tab)


def test_without_javascript_the_page_says_what_to_do(page, bare_tab):
    tab = bare_tab(page, java_script_enabled=False)
    assert "allow it for this file" in tab.inner_text("body")
    assert "At most 5% are wrong." in tab.inner_text("body")
    assert not tab.locator("footer").is_visible()
    assert not tab.locator("#start").is_visible()
