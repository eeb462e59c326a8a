"""The page in a real browser, from disk: review by keyboard, clusters, export and import."""

from itertools import product

import pandas as pd
import pytest

from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews
from tests.pages import ODD_NAME, SCRIPT, card, write_page


@pytest.fixture
def page(tmp_path):
    cards = [card(n) for n in range(60)]
    cards[3] = card(3, predicted_label=SCRIPT, label_set=[SCRIPT], image=ODD_NAME)
    cards[4] = card(4, status="failed", predicted_label="", confidence=None, cluster=None,
                    thumb=None, matches=[], image_id="")  # fmt: skip
    cards[5] = card(5, image_id=card(6).image_id)
    return write_page(tmp_path / "audit", cards)


def rows_of(tab, path) -> pd.DataFrame:
    tab.export(path)
    return read_reviews(path).drop(columns="where")


def by_name(tab) -> None:
    tab.tab.select_option("#sort", "image")


def test_ten_images_by_keyboard(visit, tmp_path):
    tab = visit(write_page(tmp_path / "audit", [card(n) for n in range(20)]).as_uri())
    by_name(tab)
    tab.tab.fill("#reviewer", "A. B.")
    tab.press("Escape", "j")
    tab.press(*"a12xas2a12")
    found = rows_of(tab, tmp_path / "reviews.csv")
    assert found["image"].tolist() == [f"new/{n:04d}.png" for n in range(10)]
    assert found["decision"].tolist() == [
        "accept", "relabel", "relabel", "reject", "accept", "skip", "relabel", "accept", "accept",
        "accept",
    ]  # fmt: skip
    assert found["label"].tolist() == [
        "dots", "dots", "ring", "", "dots", "", "ring", "ring", "dots", "ring"
    ]  # fmt: skip
    assert list(found.columns[:7]) == list(REVIEW_COLUMNS)
    assert set(found["reviewer"]) == {"A. B."}
    assert found["time"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    assert tab.text("#progress") == "9 of 20 decided, 1 skipped"


def test_undo_goes_back_step_by_step(visit, tmp_path):
    tab = visit(write_page(tmp_path / "audit", [card(n) for n in range(20)]).as_uri())
    by_name(tab)
    tab.press("j", "a", "1", "k", "x", "u")
    assert "new/0001.png" in tab.text(".current .file")
    assert tab.text(".current .decided") == "labelled: dots"
    tab.press("u")
    assert tab.text(".current .decided") == "not decided"
    assert rows_of(tab, tmp_path / "r.csv")["image"].tolist() == ["new/0000.png"]
    tab.press("u", "u")
    assert "nothing to undo" in tab.text("#said")
    assert tab.tab.is_disabled("#export")


def test_a_label_is_written_and_gets_a_number(visit, page, tmp_path):
    tab = visit(page.as_uri())
    by_name(tab)
    tab.press("j", "l")
    tab.tab.keyboard.type("a|b")
    tab.press("Enter")
    assert "|" in tab.text("#label-error")
    tab.tab.fill("#label-text", "  rosette ")
    tab.tab.fill("#label-note", '=1+1, "quoted"\u00e9')
    tab.press("Enter")
    assert "rosette" in tab.text("#digits")
    # Letters in a field are letters.
    tab.tab.fill("#search", "")
    tab.tab.focus("#search")
    tab.tab.keyboard.type("new/0001")
    tab.wait("#count", "1 image")
    tab.press("Escape", "3")
    found = rows_of(tab, tmp_path / "r.csv").set_index("image")
    assert found["label"].tolist() == ["rosette", "rosette"]
    assert found["decision"].tolist() == ["relabel", "relabel"]
    assert found["note"].tolist() == ['=1+1, "quoted"\u00e9', ""]
    assert "'=1+1" in (tmp_path / "r.csv").read_text()


def test_a_name_for_a_cluster(visit, page, tmp_path):
    tab = visit(page.as_uri())
    tab.tab.click("[data-tab=clusters]")
    tab.press("j", "l")
    tab.tab.keyboard.type("rosette")
    # The name is given after a look at some of the images.
    tab.press("Enter", "Enter")
    tab.press("a")
    assert "No guess is good enough" in tab.text("#said")
    tab.press("j", "x")
    found = rows_of(tab, tmp_path / "r.csv").set_index("image_id")
    clusters = found[found.index.str.startswith("cluster:")]
    assert clusters["label"].to_dict() == {"cluster:0": "rosette", "cluster:2": ""}
    assert clusters["decision"].tolist() == ["relabel", "reject"]
    assert clusters["image"].tolist() == ["new/0000.png", "new/0002.png"]
    checked = found.drop(clusters.index)
    assert set(checked["label"]) == {"rosette"}
    assert set(checked["note"]) == {"checked with cluster 0"}
    assert 0 < len(checked) <= 10
    tab.tab.click("[data-tab=all]")
    by_name(tab)
    first = tab.text("#cards > :first-child .decided")
    assert "rosette" in first
    tab.tab.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    # Off the screen, a key brings the card there before it decides.
    tab.press("1")
    assert "press it again" in tab.text("#said")
    assert tab.text("#cards > :first-child .decided") == first
    tab.press("1")
    assert tab.text("#cards > :first-child .decided").startswith("labelled: dots")


def test_names_that_look_like_markup_are_text(visit, page, tmp_path):
    tab = visit(page.as_uri())
    by_name(tab)
    box = tab.tab.locator(".card", has_text='"odd"')
    assert box.locator("h3").inner_text().startswith(f"{SCRIPT} or ring?")
    assert box.locator(".file").inner_text() == ODD_NAME
    box.locator("button", has_text="accept").click()
    row = rows_of(tab, tmp_path / "r.csv").iloc[0]
    assert (row["label"], row["image"], row["decision"]) == (SCRIPT, ODD_NAME, "accept")


def test_progress_survives_a_reload_and_another_tab(visit, page, tmp_path):
    tab = visit(page.as_uri())
    by_name(tab)
    tab.press("j", "a", "x")
    other = tab.tab.context.new_page()
    other.goto(page.as_uri())
    assert other.inner_text("#progress").startswith("2 of 59")
    other.select_option("#sort", "image")
    for key in "jjjja":
        other.keyboard.press(key)
    tab.wait("#progress", "3 of")
    other.close()
    before = rows_of(tab, tmp_path / "a.csv")
    tab.tab.reload()
    pd.testing.assert_frame_equal(before, rows_of(tab, tmp_path / "b.csv"))
    tab.press("u")
    assert len(rows_of(tab, tmp_path / "c.csv")) == len(before) - 1


def test_images_of_one_id_share_a_decision(visit, page):
    tab = visit(page.as_uri())
    by_name(tab)
    tab.tab.locator(".card", has_text="0006.png").get_by_role("button", name="reject").click()
    assert (
        tab.tab.locator(".card", has_text="0005.png").locator(".decided").inner_text() == "rejected"
    )
    failed = tab.tab.locator(".card", has_text="0004.png")
    assert failed.locator("button", has_text="accept").count() == 0


def test_import_keeps_what_is_not_on_the_page(visit, page, tmp_path):
    table = pd.DataFrame(
        [[card(0).image_id, "new/0000.png", "'=x", "Relabel", "me", "", 'a "note",\nin two lines'],
         ["ffffffffffffffff", "elsewhere.png", "ring", "accept", "", "", ""],
         ["cluster:99", "", "ring", "relabel", "", "", ""],
         ["cluster:2", "", "rod", "relabel", "", "", ""]],
        columns=list(REVIEW_COLUMNS),
    )  # fmt: skip
    table.to_csv(tmp_path / "in.csv", index=False)
    tab = visit(page.as_uri())
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said", "4 decisions read, 2 of them")
    out = rows_of(tab, tmp_path / "out.csv").drop(columns="line")
    wanted = read_reviews(tmp_path / "in.csv").drop(columns=["line", "where"])
    pd.testing.assert_frame_equal(
        out.sort_values("image_id", ignore_index=True),
        wanted.sort_values("image_id", ignore_index=True),
    )
    assert out.set_index("image_id")["label"][card(0).image_id] == "=x"


def test_a_spreadsheet_may_have_saved_it(visit, page, tmp_path):
    tab = visit(page.as_uri())
    made = product([",", ";", "\t", "|"], ["utf-8", "utf-8-sig", "utf-16"], [False, True])
    for number, (separator, encoding, stated) in enumerate(made):
        rows = [["image_id", "label", "decision", "note"],
                [card(0).image_id, f"Größe {number}", "relabel", '"a, b; c"']]  # fmt: skip
        text = f"sep={separator}\r\n" * stated
        text += "".join(separator.join(row) + "\r\n" for row in rows)
        path = tmp_path / f"{number}.csv"
        path.write_bytes(text.encode(encoding))
        tab.tab.set_input_files("#file", path)
        if number:
            tab.tab.click("#compare-theirs")
        tab.wait("#progress", "1 of")
        tab.wait("#cards", f"Größe {number}")
    out = rows_of(tab, tmp_path / "out.csv")
    assert out["label"].tolist() == ["Größe 23"]
    assert out["note"].tolist() == ["a, b; c"]
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_file_in_other_letters_says_what_to_do(visit, page, tmp_path):
    tab = visit(page.as_uri())
    text = f"image_id,label,decision\n{card(1).image_id},Größe,relabel\n"
    (tmp_path / "in.csv").write_bytes(text.encode("cp1252"))
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said.alarm", "save it as CSV in UTF-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,b\n1,2\n", "no column image_id"),
     ("image_id,label,decision\n8.63E+020,a,relabel\n", "row 1: image_id 8.63E+020 is a number"),
     ("image_id;label;decision\n123456789012345;a;relabel\n", "a spreadsheet has changed it"),
     ('image_id,label,decision\n"x', "not closed"),
     ("image_id,label,decision\nx,,maybe\n", "maybe"), ("", "no column"),
     ("image_id,label,decision\n,,skip\n", "no image_id"),
     ("image_id,label,decision\nx,,relabel\n", "without a label"),
     ("image_id,label,decision\nx,a|b,relabel\n", "must not hold")],
)  # fmt: skip
def test_import_of_what_is_no_reviews_file(visit, page, tmp_path, text, said):
    (tmp_path / "in.csv").write_text(text)
    tab = visit(page.as_uri())
    tab.press("j", "a")
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.tab.wait_for_selector("#said.alarm")
    assert said in tab.text("#said")
    assert tab.text("#progress").startswith("1 of")


def test_a_browser_that_stores_nothing_says_so(visit, page):
    tab = visit(page.as_uri())
    tab.tab.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full') } }")
    tab.press("j", "a")
    assert tab.text("#progress").startswith("1 of")
    assert tab.tab.evaluate(
        "() => { const e = new Event('beforeunload', {cancelable: true});"
        " window.dispatchEvent(e); return e.defaultPrevented }"
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, page, scheme):
    pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = visit(page.as_uri(), color_scheme=scheme, bypass_csp=True)
    for details in tab.tab.locator("header details").all():
        details.locator("summary").click()
    steps = [lambda: None, lambda: tab.press("j", "a", "x", "s"),
             lambda: tab.tab.click("[data-tab=clusters]"), lambda: tab.press("j", "a"),
             lambda: tab.press("?"), lambda: (tab.press("Escape"), tab.tab.click("[data-tab=all]"),
                                              tab.press("j", "l"))]  # fmt: skip
    for step in steps:
        step()
        tab.check_access()


@pytest.mark.slow
def test_five_thousand_cards_are_drawn_a_page_at_a_time(visit, tmp_path):
    page = write_page(tmp_path / "audit", [card(n, cluster=n % 400) for n in range(5000)])
    tab = visit(page.as_uri())
    assert tab.tab.locator(".card").count() == 48
    tab.tab.locator(".pager .after").first.click()
    assert tab.text(".pager span") == "49 to 96 of 5,000"
    tab.press("k")
    assert tab.text(".pager span") == "1 to 48 of 5,000"
    tab.press("j")
    assert tab.text(".pager span") == "49 to 96 of 5,000"
    tab.tab.click("[data-tab=clusters]")
    assert tab.tab.locator(".card").count() == 12


def test_what_was_stored_and_cannot_be_read_is_set_aside(visit, page):
    tab = visit(page.as_uri())
    tab.press("j", "a")
    tab.tab.evaluate("() => localStorage.setItem(Object.keys(localStorage)[0], '{\"verdicts\": 3')")
    tab.tab.reload()
    assert "set aside" in tab.text("#said")
    tab.press("j", "x")
    assert tab.text("#progress").startswith("1 of")
    stored = tab.tab.evaluate("() => Object.entries(localStorage)")
    assert [text for name, text in stored if "damaged" in name] == ['{"verdicts": 3']


def test_a_key_that_is_held_down_decides_once(visit, page):
    tab = visit(page.as_uri())
    tab.press("j")
    for _ in range(10):
        tab.tab.keyboard.down("a")
    assert tab.text("#progress").startswith("1 of")


def test_after_the_last_card_a_key_is_not_meant_for_it_again(visit, tmp_path):
    tab = visit(write_page(tmp_path / "audit", [card(n) for n in range(3)]).as_uri())
    by_name(tab)
    tab.press("j", "a", "a", "a", "x")
    assert "last one" in tab.text("#said")
    assert set(rows_of(tab, tmp_path / "r.csv")["decision"]) == {"accept"}
    tab.press("k", "x")
    assert rows_of(tab, tmp_path / "r.csv")["decision"].tolist() == ["accept", "accept", "reject"]


def test_an_import_is_taken_back_in_one_step(visit, page, tmp_path):
    tab = visit(page.as_uri())
    by_name(tab)
    tab.press("j", "j", "x", "x")
    before = rows_of(tab, tmp_path / "mine.csv")
    theirs = before.assign(decision="relabel", label="rod")[list(REVIEW_COLUMNS)]
    theirs.to_csv(tmp_path / "in.csv", index=False)
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    # Nothing is replaced unasked.
    tab.tab.click("#compare-theirs")
    tab.wait("#said", "2 replaced another decision")
    assert set(rows_of(tab, tmp_path / "r.csv")["label"]) == {"rod"}
    tab.press("Escape")
    tab.tab.click("#undo")
    pd.testing.assert_frame_equal(rows_of(tab, tmp_path / "r.csv"), before)


def test_a_novel_image_cannot_be_accepted(visit, tmp_path):
    cards = [card(n, status="novel", confidence=1.0) for n in range(4)]
    tab = visit(write_page(tmp_path / "audit", cards).as_uri())
    by_name(tab)
    tab.press("j", "a")
    assert "like nothing labelled" in tab.text("#said")
    assert tab.text("#progress").startswith("0 of")
    assert "100" not in tab.text(".current")
    assert tab.tab.locator(".card button", has_text="accept").count() == 0
    tab.press("2")
    assert rows_of(tab, tmp_path / "r.csv")["label"].tolist() == ["ring"]


def test_rows_about_clusters_carry_the_fingerprint_of_theirs(visit, tmp_path):
    cards = [card(n) for n in range(12)]
    own = write_page(tmp_path / "own", cards, fingerprint="x0123456789abcde")
    other = write_page(tmp_path / "other", cards, fingerprint="xedcba9876543210", key="f" * 16)
    tab = visit(own.as_uri())
    tab.tab.click("[data-tab=clusters]")
    tab.press("j", "x")
    assert rows_of(tab, tmp_path / "r.csv")["assignments"].tolist() == ["x0123456789abcde"]
    tab.tab.set_input_files("#file", tmp_path / "r.csv")
    tab.wait("#said", "1 decision read, 1 of them")
    tab = visit(other.as_uri())
    tab.tab.set_input_files("#file", tmp_path / "r.csv")
    tab.wait("#said", "is of the assignments x0123456789abcde")
