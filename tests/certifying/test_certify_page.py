"""The certify page in a real browser, from disk: one image, one key, and a line that holds."""

import re
from dataclasses import replace

import pytest
from sklearn.metrics import cohen_kappa_score

from clusterkit.certifying.certify_page import PageSet
from clusterkit.formats.reviews import read_reviews
from clusterkit.methods.certificate import answers_needed, null_total, upper_bound
from tests.certify_pages import (
    CLASSES,
    PRACTICE,
    TYPICAL,
    answer,
    asked,
    begin,
    holding,
    key_of,
    load,
    other,
    page_of,
    seen,
    write_answers,
    write_certify_page,
)


@pytest.fixture
def page():
    return page_of(asked(240), budget=240)


@pytest.fixture
def opened(visit, tmp_path):
    def call(page, name="Dr A", **settings):
        tab = visit(write_certify_page(tmp_path / "certify", page).as_uri(), **settings)
        if name:
            begin(tab, name)
        return tab

    return call


def rows_of(tab, tmp_path):
    if not tab.tab.is_visible("#export"):
        tab.press("p")
    tab.export(tmp_path / "out.csv")
    return read_reviews(tmp_path / "out.csv")


def truth_of(page, numbers) -> dict[int, str]:
    return {n: page.images[n].predicted_label for n in numbers}


def test_an_answer_is_a_row(opened, page, tmp_path):
    tab = opened(page)
    numbers = [answer(tab, page), answer(tab, page, key_of(other(page.images[1].predicted_label))),
               answer(tab, page, " "), answer(tab, page, "x"), answer(tab, page, "d"),
               answer(tab, page, "ArrowRight")]  # fmt: skip
    seen(tab)
    assert tab.text("#counts").startswith("6 of about")
    found = rows_of(tab, tmp_path)
    assert numbers == list(range(6))
    assert found["image_id"].tolist() == [image.image_id for image in page.images[:6]]
    assert found["image"].tolist() == [image.image for image in page.images[:6]]
    assert found["decision"].tolist() == [
        "accept",
        "relabel",
        "reject",
        "reject",
        "accept",
        "accept",
    ]
    assert found["label"].tolist() == ["dots", "dots", "", "", "dots", "ring"]
    assert found["note"].tolist() == ["", "", "can't tell", "none of these", "", ""]
    assert set(found["reviewer"]) == {"Dr A"}
    assert set(found["assignments"]) == {page.fingerprint}
    assert found["time"].is_monotonic_increasing
    assert found["time"].is_unique


def test_nobody_sees_the_label_before_the_answer(opened, page):
    tab = opened(page)
    number = seen(tab)
    shown = tab.tab.evaluate("() => document.querySelector('#work').outerHTML + document.title")
    assert page.images[number].image not in shown
    assert "patient" not in shown
    # The two classes stand there alike, and in the order of the classes.
    buttons = tab.tab.locator("#choices button")
    first = buttons.all_inner_texts()
    style = """e => [...e.children].map(b => [b.className, getComputedStyle(b).background,
        getComputedStyle(b).font, b.offsetWidth, b.offsetHeight].join())"""
    assert len(set(tab.tab.locator("#choices").evaluate(style))) == 1
    answer(tab, page)
    seen(tab)
    assert buttons.all_inner_texts() == first


def test_a_name_comes_before_the_first_answer(opened, page):
    tab = opened(page, name="")
    tab.press("1")
    tab.tab.click("#start")
    assert "name" in tab.text("#name-error")
    assert tab.tab.is_visible("#intro")


def test_a_key_counts_for_what_has_been_seen(opened, page):
    tab = opened(page, name="")
    # In the very moment in which it is seen, however late this machine's frames come.
    tab.tab.evaluate("""() => {
        const stage = document.querySelector("#stage");
        const watching = new MutationObserver(() => {
            if (!stage.dataset.seen) return;
            watching.disconnect();
            document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "1", bubbles: true}));
        });
        watching.observe(stage, {attributeFilter: ["data-seen"]});
    }""")
    begin(tab)
    seen(tab)
    assert "too soon" in tab.text(".answers .said")
    assert tab.text("#counts").startswith("0 of")
    seen(tab)
    for _ in range(9):
        tab.tab.keyboard.down("1")
        tab.tab.wait_for_timeout(60)
    tab.tab.keyboard.up("1")
    seen(tab)
    assert tab.text("#counts").startswith("1 of")
    # A button that has the focus is pressed once as well.
    tab.tab.locator("#choices button").first.focus()
    for _ in range(9):
        tab.tab.keyboard.down("Enter")
        tab.tab.wait_for_timeout(60)
    tab.tab.keyboard.up("Enter")
    assert tab.text("#counts").startswith("2 of")
    # And a blank is not for the button, but says that nobody can tell.
    seen(tab)
    tab.press(" ")
    seen(tab)
    assert "1 can't tell" in tab.text("#counts")
    assert tab.text("#counts").startswith("3 of")


def test_a_picture_that_does_not_come_is_not_answered(visit, page, tmp_path):
    tab = visit(write_certify_page(tmp_path / "certify", page).as_uri())
    tab.tab.evaluate("() => { HTMLImageElement.prototype.decode = () => new Promise(() => {}) }")
    begin(tab)
    tab.tab.wait_for_timeout(300)
    tab.press("1", " ")
    assert "not there yet" in tab.text(".answers .said")
    assert tab.text("#counts").startswith("0 of")


def test_an_image_without_a_picture_counts_as_cannot_tell(opened, page, tmp_path):
    images = [replace(page.images[0], picture=None), *page.images[1:]]
    page = replace(page, images=images)
    tab = opened(page)
    assert seen(tab) == 0
    assert "no picture" in tab.text("#pane-own")
    tab.press("1")
    assert "can only count" in tab.text(".answers .said")
    assert tab.text("#counts").startswith("0 of")
    answer(tab, page, " ")
    assert seen(tab) == 1
    found = rows_of(tab, tmp_path)
    assert found["decision"].tolist() == ["reject"]
    assert found["note"].tolist() == ["can't tell; no picture"]


def test_a_lost_picture_is_said(browser, page, tmp_path):
    path = write_certify_page(tmp_path / "certify", page)
    (path.parent / page.images[0].picture).unlink()
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.fill("#reader", "Dr A")
    tab.keyboard.press("Enter")
    tab.locator("#pane-own", has_text="Is the folder thumbs beside index.html?").wait_for()
    assert tab.inner_text("#counts").startswith("0 of")
    context.close()


def test_undo_is_a_row_and_the_image_comes_again(opened, page, tmp_path):
    tab = opened(page)
    answer(tab, page)
    answer(tab, page, " ")
    seen(tab)
    tab.press("u")
    assert seen(tab) == 1
    assert tab.text("#counts").startswith("1 of")
    answer(tab, page)
    seen(tab)
    tab.press("Backspace", "Backspace", "u")
    assert seen(tab) == 0
    tab.press("u")
    assert "nothing to undo" in tab.text(".answers .said")
    found = rows_of(tab, tmp_path)
    assert found["decision"].tolist() == ["accept", "reject", "skip", "accept", "skip", "skip"]
    assert found["note"].tolist() == ["", "can't tell", "undone", "", "undone", "undone"]
    assert holding(found) == {}


def test_a_look_at_the_label_is_counted_and_a_note_is_kept(opened, page, tmp_path):
    tab = opened(page)
    seen(tab)
    tab.press("s")
    assert tab.text("#shown") == "Label: dots"
    # Who closes the page has seen it all the same.
    tab.tab.reload()
    begin(tab)
    seen(tab)
    assert tab.text("#shown") == "Label: dots"
    tab.press("m")
    tab.tab.keyboard.type("blurred; 1 of 2")
    tab.press("Enter")
    answer(tab, page)
    assert seen(tab) == 1
    assert not tab.tab.is_visible("#shown")
    answer(tab, page)
    seen(tab)
    assert rows_of(tab, tmp_path)["note"].tolist() == ["label shown; blurred; 1 of 2", ""]


def test_practice_does_not_count(opened, page, tmp_path):
    tab = opened(replace(page, practice=PRACTICE))
    for number, key in enumerate(["1", "1", " "]):
        tab.tab.locator(f'#stage[data-seen="thumbs/p{number}.png"]').wait_for()
        tab.tab.wait_for_timeout(270)
        tab.press(key)
        tab.tab.locator("#feedback").wait_for()
        word = ["dots: so it is labelled.", "You said dots. It is labelled ring.",
                "You said can't tell. It is labelled dots."][number]  # fmt: skip
        assert tab.text("#feedback-text") == word
        tab.press("1", "Enter")
    answer(tab, page)
    seen(tab)
    assert len(rows_of(tab, tmp_path)) == 1
    # Not a second time.
    tab.tab.reload()
    begin(tab)
    assert seen(tab) == 1


def test_closed_and_opened_again_it_goes_on(opened, page, tmp_path):
    tab = opened(page)
    for _ in range(3):
        answer(tab, page)
    seen(tab)
    again = tab.again(tab.tab.url)
    tab.tab.close()
    again.wait("#welcome", "Welcome back: 3 answered.")
    again.tab.click("#start")
    assert answer(again, page) == 3
    seen(again)
    assert len(rows_of(again, tmp_path)) == 4
    again.press("p")
    again.tab.click("#stop")
    assert again.text("#end-title") == "Not certified yet"
    again.tab.click("#end-on")
    assert seen(again) == 4
    again.check("file:")


def test_two_tabs_have_one_list_of_answers(opened, page, tmp_path):
    tab = opened(page)
    answer(tab, page)
    seen(tab)
    second = tab.again(tab.tab.url)
    second.tab.click("#start")
    assert answer(second, page) == 1
    tab.wait("#counts", "2 of about")
    answer(tab, page)
    seen(tab)
    found = rows_of(tab, tmp_path)
    assert found["image_id"].nunique() >= 2
    assert found["time"].is_unique
    second.check("file:")


def test_the_same_image_is_asked_once_more(opened, page, tmp_path):
    tab = opened(page, name="")
    load(tab, write_answers(tmp_path / "in.csv", page, truth_of(page, range(19)), "Dr A"))
    begin(tab)
    assert answer(tab, page) == 19
    # The tenth of them.
    assert seen(tab) == 9
    assert tab.text("#counts").startswith("20 of")
    assert not tab.tab.is_visible("#banner")
    answer(tab, page, " ")
    assert seen(tab) == 20
    assert tab.text("#counts").startswith("20 of")
    tab.press("u")
    assert seen(tab) == 9
    answer(tab, page, key_of(other(page.images[9].predicted_label)))
    assert answer(tab, page) == 20
    seen(tab)
    found = rows_of(tab, tmp_path)
    again = found[found["note"].str.startswith("asked again")]
    label = page.images[9].predicted_label
    # The label that stands is the first one.
    assert again["label"].tolist() == [label, label]
    assert again["decision"].tolist() == ["accept", "accept"]
    assert holding(found) == truth_of(page, range(21))
    assert again["note"].tolist() == ["asked again: can't tell", f"asked again: {other(label)}"]


def test_certified_then_on_to_the_next_set(opened, tmp_path):
    sets = [PageSet(1204, 1204), PageSet(1385, 1385)]
    page = page_of(asked(160, set_of=lambda n: int(n % 5 == 4)), sets=sets)
    first = [n for n in range(160) if n % 5 != 4]
    needed = answers_needed([], 1204, null_total(1204, 0.05), 0.9)
    tab = opened(page, name="")
    assert f"it takes {needed} answers" in tab.text("#takes")
    load(tab, write_answers(tmp_path / "in.csv", page, truth_of(page, first[: needed - 1]), "Dr A"))
    begin(tab)
    # The repeats that are due, then the last one.
    for _ in range(3):
        if tab.text("#line").startswith("Certified"):
            break
        line = "Not yet certified. 1 more agreeing answer would certify 1,204 labels at 5 of 100."
        assert tab.text("#line") == line
        answer(tab, page)
        tab.tab.wait_for_timeout(50)
    tab.wait("#end-title", "Certified")
    assert (
        tab.text("#end-line")
        == "Certified: of 1,204 labels at most 60 were wrong as set (90% sure)."
    )
    more = re.search(
        r"go on: (\d+) more agreeing answers would certify 1,385\.$", tab.text("#line")
    )
    assert 5 < int(more[1]) < 20
    tab.tab.click("#end-on")
    # The fill-in: the first of the larger set that is not in the smaller one.
    assert answer(tab, page) == 4
    seen(tab)
    assert f"go on: {int(more[1]) - 1} more" in tab.text("#line")


def test_not_certified_says_what_is_supported(opened, tmp_path):
    page = page_of(asked(80))
    said = truth_of(page, range(7)) | {n: other(page.images[n].predicted_label) for n in (2, 4)}
    tab = opened(page, name="")
    load(tab, write_answers(tmp_path / "in.csv", page, said, "Dr A"))
    begin(tab)
    tab.wait("#end-title", "Not certified within the budget")
    losses = [0, 0, 1, 0, 1, 0, 0]
    bound = int(upper_bound(losses, 1204, 0.9))
    assert f"of 1,204 labels at most {bound:,} were wrong as set" in tab.text("#end-line")
    assert "cannot be certified within 80 answers" in tab.text("#line")
    tab.tab.click("#end-on")
    assert answer(tab, page) == 7
    assert seen(tab) == 8
    bound = int(upper_bound([*losses, 0], 1204, 0.9))
    assert f"at most {bound:,} were" in tab.text("#line")


def test_a_batch_that_is_checked_whole_is_exact(opened, tmp_path):
    page = page_of(asked(12), sets=[PageSet(12, 12)])
    tab = opened(page, name="")
    load(tab, write_answers(tmp_path / "in.csv", page, truth_of(page, range(11)), "Dr A"))
    begin(tab)
    answer(tab, page)
    tab.wait("#end-title", "Certified: all that was asked")
    assert (
        tab.text("#end-line") == "Certified: of 12 labels at most 0 were wrong as set (90% sure)."
    )


def test_no_error_at_all_takes_every_image(opened, tmp_path):
    page = page_of(asked(60), max_error=0, budget=60, sets=[PageSet(60, 60)])
    tab = opened(page, name="")
    load(tab, write_answers(tmp_path / "in.csv", page, truth_of(page, range(58)), "Dr A"))
    assert tab.text("#line").startswith("Not yet certified. 2 more agreeing answers")


def test_patients_are_asked_whole(opened):
    images = asked(300, unit_of=lambda n: n // 3)
    page = page_of(images, unit="group", sets=[PageSet(3000, 1000)], budget=300)
    tab = opened(page)
    assert [answer(tab, page) for _ in range(4)] == [0, 1, 2, 3]
    seen(tab)
    assert "152 more agreeing answers would certify 3,000 labels of 1,000 patients" in tab.text(
        "#line"
    )


def test_a_second_reader_and_the_third_answer(opened, page, tmp_path):
    mine = truth_of(page, range(10)) | {n: other(page.images[n].predicted_label) for n in (1, 6)}
    theirs = truth_of(page, range(10)) | {n: other(page.images[n].predicted_label) for n in (1, 3)}
    tab = opened(page, name="")
    load(tab, write_answers(tmp_path / "mine.csv", page, mine, "Dr A"))
    tab.tab.fill("#reader", "Dr B")
    tab.tab.click("#second")
    order = []
    for _ in range(10):
        order.append(seen(tab))
        # Blind to the first reader too.
        assert "Dr A" not in tab.text("body")
        assert "different" not in tab.text("body")
        tab.press(key_of(theirs[order[-1]]))
    assert sorted(order) == list(range(10))
    assert order != sorted(order)
    tab.wait("#end-title", "The second reading is done")
    table = tab.text(".agreement")
    labels = [[said[n] for n in range(10)] for said in (mine, theirs)]
    wanted = cohen_kappa_score(*labels)
    assert re.search(rf"all answers\s+8 of 10\s+{wanted:.2f}", table)
    by_class = cohen_kappa_score(*[[label == "ring" for label in one] for one in labels])
    assert re.search(rf"ring\s+8 of 10\s+{by_class:.2f}", table)
    assert not tab.tab.is_visible("#differences")
    tab.tab.click("#settle")
    assert seen(tab) == 3
    assert tab.text("#banner").startswith(f"To settle: Dr A said {mine[3]}, Dr B said {theirs[3]}.")
    tab.press(key_of(mine[3]))
    assert seen(tab) == 6
    tab.press(key_of(mine[6]))
    tab.wait("#end-title", "All disagreements are settled")
    assert tab.tab.locator("#differences figure").count() == 2
    # What both said before stays in the table.
    assert "8 of 10" in tab.text(".agreement")
    found = rows_of(tab, tmp_path)
    settled = found[found["note"] == "settled"]
    assert settled["label"].tolist() == [mine[3], mine[6]]
    assert set(settled["reviewer"]) == {"Dr B"}
    assert len(found) == 22
    assert holding(found) == theirs | {3: mine[3], 6: mine[6]}
    # Taken back, the disagreement is there again, and each reader's own answer stands.
    tab.tab.click("#end-undo")
    assert seen(tab) == 6
    tab.press("p")
    tab.tab.click("#stop")
    assert tab.text("#settle") == "Settle 1 disagreement"
    assert holding(rows_of(tab, tmp_path)) == theirs | {3: mine[3]}


def test_another_batch_is_refused(opened, page, tmp_path):
    tab = opened(page, name="")
    foreign = replace(page, images=[replace(i, image_id="f" + i.image_id[1:]) for i in page.images])
    path = write_answers(tmp_path / "foreign.csv", foreign, {0: "dots"}, "Dr B")
    load(tab, path)
    assert "none of its images" in tab.text("#intro .said")
    (tmp_path / "broken.csv").write_text("image_id,label\nx,y\n")
    load(tab, tmp_path / "broken.csv")
    assert "no column decision" in tab.text("#intro .said")


def test_with_the_label_in_sight(opened, page, tmp_path):
    tab = opened(replace(page, show_label=True))
    seen(tab)
    assert tab.text("#shown") == "Label: dots"
    tab.press("y")
    answer(tab, page, "n")
    answer(tab, page, "ArrowRight")
    answer(tab, page, " ")
    seen(tab)
    found = rows_of(tab, tmp_path)
    assert found["decision"].tolist() == ["accept", "relabel", "accept", "reject"]
    assert found["label"].tolist() == ["dots", "dots", "dots", ""]
    assert found["note"].tolist() == ["label shown"] * 3 + ["can't tell; label shown"]


def test_no_with_three_classes_asks_which(opened, page, tmp_path):
    tab = opened(replace(page, show_label=True, classes=[*CLASSES, "rod"]))
    answer(tab, page, "n")
    assert "dots" not in tab.text("#choices")
    # The key of the label that was just called wrong says nothing.
    tab.press("1", "3")
    answer(tab, page, "n")
    tab.press("x")
    seen(tab)
    found = rows_of(tab, tmp_path)
    assert found["label"].tolist() == ["rod", ""]
    assert found["note"].tolist() == ["label shown", "none of these; label shown"]


def test_many_classes_are_typed(opened, page, tmp_path):
    tab = opened(replace(page, classes=[*CLASSES, *(f"kind {n}" for n in range(12))]))
    seen(tab)
    tab.press("1")
    assert tab.text("#counts").startswith("0 of")
    tab.press("l")
    tab.tab.keyboard.type("kind 11")
    tab.press("Enter")
    assert seen(tab) == 1
    tab.press("Enter", "Enter")
    assert tab.text("#counts").startswith("1 of")
    tab.press("Escape", " ")
    seen(tab)
    found = rows_of(tab, tmp_path)
    assert found["label"].tolist() == ["kind 11", ""]


def test_letters_of_classes_are_no_other_keys(opened, page, tmp_path):
    classes = ["Parasitized", "Uninfected"]
    images = [replace(image, predicted_label=classes[n % 2]) for n, image in enumerate(page.images)]
    tab = opened(replace(page, classes=classes, images=images))
    seen(tab)
    caps = tab.tab.locator("#choices button").all_inner_texts()
    assert [re.sub(r"\W+", "", text) for text in caps] == [
        "Parasitized1a",
        "Uninfected2n",
    ]
    tab.press("a")
    seen(tab)
    tab.press("n")
    seen(tab)
    assert rows_of(tab, tmp_path)["label"].tolist() == classes


def test_zoom_and_greys(opened, page):
    tab = opened(page)
    seen(tab)
    assert "160 x 160 px" in tab.text("#view-said")
    tab.press("+", "+")
    style = "() => document.querySelector('#pane-own .canvas').style.transform"
    assert "scale(1.5625)" in tab.tab.evaluate(style)
    tab.press("0", "[")
    assert tab.tab.evaluate(style) == ""
    assert "brightness 91%" in tab.text("#view-said")
    tab.press("r")
    assert "brightness" not in tab.text("#view-said")
    # The next image is seen whole.
    tab.press("+")
    answer(tab, page)
    seen(tab)
    assert tab.tab.evaluate(style) == ""


@pytest.mark.parametrize("size", [(1366, 768), (390, 844), (844, 390)])
def test_everything_fits(opened, page, size):
    tab = opened(page, viewport={"width": size[0], "height": size[1]})
    seen(tab)
    assert tab.tab.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    assert tab.tab.evaluate("() => document.documentElement.scrollHeight") <= size[1]
    image = tab.tab.locator("#stage").bounding_box()
    assert image["height"] >= {1366: 0.7, 390: 0.38, 844: 0.5}[size[0]] * size[1]
    for one in tab.tab.locator("#choices button, #cannot-tell, #none").all():
        box = one.bounding_box()
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= tab.tab.locator("footer").bounding_box()["y"]
    small = """() => [...document.querySelectorAll('button, input, summary')].filter(e => {
        const { width, height } = e.getBoundingClientRect();
        return e.checkVisibility() && width && (width < 26 || height < 26)
    }).map(e => e.outerHTML)"""
    assert tab.tab.evaluate(small) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, page, tmp_path, scheme):
    page = replace(page, practice=PRACTICE, typical=TYPICAL, notes=["One image has no picture."])
    tab = opened(page, name="", bypass_csp=True, color_scheme=scheme)
    tab.tab.click("#plan summary")
    tab.check_access()
    begin(tab)
    tab.tab.locator('#stage[data-seen="thumbs/p0.png"]').wait_for()
    tab.tab.wait_for_timeout(270)
    tab.press("1")
    tab.check_access()
    tab.tab.click("#skip-practice")
    answer(tab, page)
    seen(tab)
    tab.press("s")
    tab.check_access()
    for key in "cm?":
        tab.press(key)
        tab.check_access()
        tab.press("Escape")
    tab.press("p")
    tab.check_access()
    tab.press("p")
    load(tab, write_answers(tmp_path / "in.csv", page, truth_of(page, range(1, 60)), "Dr B"))
    answer(tab, page)
    tab.tab.locator("#end").wait_for()
    tab.tab.click("#end-finish")
    tab.check_access()


def test_names_that_look_like_markup_are_text(opened, page, tmp_path):
    bad = "</script><b>x"
    images = [replace(i, predicted_label=bad, image=f"{bad}{n}") for n, i in enumerate(page.images)]
    tab = opened(replace(page, classes=[bad, "ring"], images=images, title=bad, question=bad,
                         plan=[(bad, bad)], next_step=bad), name="")  # fmt: skip
    begin(tab, bad)
    seen(tab)
    tab.press("1")
    seen(tab)
    row = rows_of(tab, tmp_path).iloc[0]
    assert (row["label"], row["image"], row["reviewer"]) == (bad, f"{bad}0", bad)
