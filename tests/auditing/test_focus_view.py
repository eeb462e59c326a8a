"""One image large: seen, compared, decided and looked at again, all by keyboard."""

import pytest

from clusterkit.auditing.pictures import save_picture
from clusterkit.formats.reviews import read_reviews
from tests.pages import card, picture_of, write_page


@pytest.fixture
def page(tmp_path):
    cards = [card(n, full=f"thumbs/full-{n % 2}.png") for n in range(20)]
    for n in range(2):
        save_picture(picture_of(300 + n, 200), tmp_path / "audit" / "thumbs" / f"full-{n}.png")
    return write_page(tmp_path / "audit", cards)


def seen(tab, number: int) -> None:
    """Wait until the picture of a card is there."""
    tab.tab.locator(f'#focus[data-seen="{card(number).image_id}"]').wait_for()


def style(tab, what: str) -> str:
    return tab.tab.evaluate(
        f"() => document.querySelector('#pane-own .canvas{what}').style.cssText"
    )


def opened(visit, page, **settings):
    tab = visit(page.as_uri(), **settings)
    tab.press("Enter")
    seen(tab, 0)
    return tab


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
def test_the_first_screen_holds_the_answer_and_the_first_image(visit, tmp_path, size):
    long = "Of every 100 labels that are set here, at most 5 are wrong (90% sure). " * 3
    page = write_page(tmp_path / "audit", [card(n) for n in range(20)], promise=long,
                      counts={"assigned": 70, "review": 60}, total=130, shown=20,
                      warnings=["Nothing. " * 40] * 3)  # fmt: skip
    tab = visit(page.as_uri(), viewport={"width": size[0], "height": size[1]})
    footer = tab.tab.locator("footer").bounding_box()["y"]
    for selector in (".promise", ".bar", "#start", ".tools", ".card >> nth=0 >> .picture >> nth=0"):
        box = tab.tab.locator(selector).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= footer, selector
    assert tab.tab.locator(".tools").bounding_box()["height"] < 50
    assert "40 more to decide are not on this page" in tab.text("#count")
    # A heat map lies over its image: between its colours the image is seen.
    ground = "e => getComputedStyle(e).backgroundColor"
    assert tab.tab.locator(".picture .over").first.evaluate(ground) == "rgba(0, 0, 0, 0)"
    tab.tab.click("#start")
    seen(tab, 0)
    stage = tab.tab.locator("#pane-own img").bounding_box()
    assert stage["height"] >= 0.7 * size[1]
    assert stage["width"] >= 0.5 * size[0]


@pytest.mark.slow
def test_forty_images_take_a_key_each(visit, tmp_path):
    tab = opened(visit, write_page(tmp_path / "audit", [card(n) for n in range(40)]))
    for number, key in enumerate("a1x2" * 10):
        seen(tab, number)
        tab.press(key)
    tab.wait("#finish-title", "All 40 on this page are done")
    assert not tab.tab.locator("#focus").is_visible()
    tab.export(tmp_path / "r.csv")
    found = read_reviews(tmp_path / "r.csv")
    assert found["image"].tolist() == [f"new/{n:04d}.png" for n in range(40)]
    wanted = ["accept", "relabel", "reject", "accept"]
    assert found["decision"].tolist() == wanted * 10


def test_a_key_counts_for_what_is_seen(visit, page):
    tab = opened(visit, page)
    for _ in range(5):
        tab.tab.keyboard.down("x")
    tab.tab.keyboard.up("x")
    seen(tab, 1)
    assert tab.text("#progress").startswith("1 of")
    # The match lies where the image was: the key is not meant for it.
    tab.press("f", "x")
    assert "press it again" in tab.text("#focus-said")
    assert tab.text("#focus-decided") == "not decided"
    seen(tab, 1)
    tab.press("x")
    seen(tab, 2)
    tab.press("Escape")
    assert "new/0002.png" in tab.text(".current .file")
    assert tab.tab.locator("#cards [aria-current]").count() == 1


def test_a_picture_that_does_not_come_is_not_decided(visit, page):
    tab = visit(page.as_uri())
    tab.tab.evaluate("() => { HTMLImageElement.prototype.decode = () => new Promise(() => {}) }")
    tab.press("Enter", "a")
    assert "not there yet" in tab.text("#focus-said")
    assert tab.text("#progress").startswith("0 of")


def test_a_copy_that_is_gone_leaves_the_thumbnail(browser, tmp_path):
    page = write_page(tmp_path / "audit", [card(n, full="thumbs/gone.png") for n in range(3)])
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.keyboard.press("Enter")
    tab.locator("#view-said").filter(has_text="64 x 64 px (thumbnail)").wait_for()
    tab.keyboard.press("a")
    assert tab.inner_text("#progress").startswith("1 of")
    context.close()


def test_zoom_greys_heat_map_and_matches(visit, page):
    tab = opened(visit, page)
    assert "300 x 200 px" in tab.text("#view-said")
    assert "thumbnail" not in tab.text("#view-said")
    tab.press("+", "+")
    assert "scale(1.5625)" in style(tab, "")
    tab.press("z")
    assert "100%" in tab.text("#view-said")
    tab.tab.mouse.move(300, 300)
    tab.tab.mouse.wheel(0, -100)
    assert "125%" in tab.text("#view-said")
    tab.tab.mouse.down()
    tab.tab.mouse.move(350, 330)
    tab.tab.mouse.up()
    assert "translate" in style(tab, "")
    tab.press("0")
    assert "scale" not in style(tab, "")
    tab.press("]", "}")
    assert "brightness(1.1) contrast(" in style(tab, " img")
    assert "brightness 110%" in tab.text("#view-said")
    tab.press("r")
    tab.press("h")
    tab.tab.locator("#pane-own .over").wait_for()
    tab.press("h")
    tab.tab.locator("#pane-own .over").wait_for(state="detached")
    assert "l0.png · 1 of 3" in tab.text("#pane-match .what")
    tab.press("m")
    assert "l1.png · 2 of 3" in tab.text("#pane-match .what")
    tab.press("f")
    assert "l1.png" in tab.text("#pane-own .what")
    tab.press("f")
    assert tab.text("#pane-own .what") == "this image"


@pytest.mark.parametrize(("resize", "share"), [("squish", 300 / 200), ("crop", 1), ("pad", 1)])
def test_a_heat_map_lies_over_what_the_model_saw(visit, tmp_path, resize, share):
    save_picture(picture_of(300, 200), tmp_path / "audit" / "thumbs" / "full.png")
    page = write_page(tmp_path / "audit", [card(0, full="thumbs/full.png")], resize=resize)
    tab = opened(visit, page)
    tab.press("b", "h")
    tab.tab.locator("#pane-own .over").wait_for()
    pane = tab.tab.locator("#pane-own").bounding_box()
    heat = tab.tab.locator("#pane-own .over").bounding_box()
    scale = min(pane["width"] / 300, pane["height"] / 200)
    side = {"squish": 200, "crop": 200, "pad": 300}[resize] * scale
    assert heat["height"] == pytest.approx(side, abs=1)
    assert heat["width"] == pytest.approx(side * share, abs=1)
    middle = heat["x"] + heat["width"] / 2 - pane["x"]
    assert middle == pytest.approx(pane["width"] / 2, abs=1)


def test_a_dicom_has_a_window_and_a_level(visit, tmp_path):
    tab = opened(visit, write_page(tmp_path / "audit", [card(0, image="scan.dcm")]))
    tab.press("[")
    assert "window 255, level 140 of the 0 to 255 shown" in tab.text("#view-said")


def test_the_last_decisions_are_opened_again(visit, page):
    tab = opened(visit, page)
    for number, key in enumerate("axa"):
        seen(tab, number)
        tab.press(key)
    seen(tab, 3)
    shown = tab.tab.locator("#recent button")
    assert [b.get_attribute("aria-label") for b in shown.all()] == [
        "new/0002.png: accepted: dots", "new/0001.png: rejected", "new/0000.png: accepted: dots",
    ]  # fmt: skip
    shown.nth(1).click()
    seen(tab, 1)
    assert tab.text("#focus-decided") == "rejected"
    tab.press("1")
    seen(tab, 2)
    tab.press("n")
    seen(tab, 3)
    assert tab.text("#focus-at") == "4 of 20"


def test_undo_and_redo_here_and_on_the_cards(visit, page):
    tab = opened(visit, page)
    tab.press("x")
    seen(tab, 1)
    tab.press("Control+z")
    seen(tab, 0)
    assert tab.text("#focus-decided") == "not decided"
    tab.press("Control+Shift+z")
    assert tab.text("#focus-decided") == "rejected"
    tab.press("Control+z", "Escape")
    assert tab.text("#progress").startswith("0 of")
    tab.press("a", "Control+Shift+z")
    assert "nothing to do again" in tab.text("#said")
    tab.press("Control+z")
    tab.tab.click("#redo")
    assert tab.text("#progress").startswith("1 of")
    # In a field it is the browser's.
    tab.tab.fill("#reviewer", "A. B.")
    tab.press("Control+z")
    assert tab.text("#progress").startswith("1 of")


def test_a_click_on_a_picture_and_a_button_of_the_view(visit, page):
    tab = visit(page.as_uri())
    tab.tab.locator(".card").nth(2).locator(".picture").first.click()
    seen(tab, 2)
    tab.tab.get_by_role("button", name="Accept dots", exact=True).click()
    seen(tab, 3)
    # The button that was pressed is gone; keys are for the view all the same.
    tab.press("x")
    seen(tab, 4)
    assert tab.text("#progress").startswith("2 of")


@pytest.mark.parametrize("size", [(1280, 720), (390, 844)])
def test_targets_are_large_enough(visit, page, size):
    tab = visit(page.as_uri(), viewport={"width": size[0], "height": size[1]})
    small = """() => [...document.querySelectorAll('button, select, input, summary')].filter(e => {
        const { width, height } = e.getBoundingClientRect();
        return e.checkVisibility() && width && (width < 26 || height < 26)
    }).map(e => e.outerHTML)"""
    tab.tab.click("#filters summary")
    assert tab.tab.evaluate(small) == []
    tab.press("Escape")
    tab.tab.click("#start")
    seen(tab, 0)
    assert tab.tab.evaluate(small) == []
    if size[0] == 390:
        thumbs = tab.tab.locator("#focus .thumb")
        assert [b.inner_text() for b in thumbs.all()] == ["Accept dots", "Reject"]
        assert all(b.bounding_box()["height"] >= 48 for b in thumbs.all())
        for last in tab.tab.locator("#focus-digits button").all():
            box = last.bounding_box()
            assert box["height"] <= 60
            assert box["y"] + box["height"] <= size[1]
        width = tab.tab.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 390
        # No room for two at the start: asked for, the first match is what is shown.
        assert not tab.tab.locator("#pane-match").is_visible()
        tab.tab.click("#view-tools >> text=Next match")
        assert "1 of 3" in tab.text("#pane-match .what")


def test_axe_finds_nothing_serious_in_what_lies_over_the_page(visit, page):
    pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = visit(page.as_uri(), bypass_csp=True)
    steps = [lambda: (tab.press("Enter"), seen(tab, 0), tab.press("a", "h")),
             lambda: (tab.press("Escape"), tab.tab.click("#filters summary"),
                      tab.tab.evaluate("() => openFinish()"))]  # fmt: skip
    for step in steps:
        step()
        tab.check_access()
