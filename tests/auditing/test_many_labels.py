"""A page with more labels than the keys 1 to 9: they are found by typing parts of them."""

import pytest

from clusterkit.formats.reviews import read_reviews
from tests.pages import card, write_page

ORGANS, SIDES, PARTS = ("lung", "liver", "kidney"), ("left", "right"), ("upper", "lower", "hilum")
LABELS = [f"{o}/{s}/{p}" for o in ORGANS for s in SIDES for p in PARTS]


@pytest.fixture
def tab(visit, tmp_path):
    cards = [card(n, predicted_label=LABELS[n], label_set=[LABELS[n], LABELS[n + 1]])
             for n in range(4)]  # fmt: skip
    return visit(write_page(tmp_path / "audit", cards, classes=LABELS).as_uri())


def offered(tab) -> list[str]:
    return tab.tab.locator("#label-found li").all_inner_texts()


def closed(tab) -> None:
    tab.tab.locator("#label-dialog").wait_for(state="hidden")


def decided(tab, tmp_path):
    tab.export(tmp_path / "r.csv")
    return read_reviews(tmp_path / "r.csv")


def test_parts_of_a_label_find_it(tab, tmp_path):
    tab.press("l")
    # What the card asks about stands first.
    assert offered(tab)[:2] == LABELS[:2]
    tab.tab.keyboard.type("ki hi")
    assert offered(tab) == ["kidney/left/hilum", "kidney/right/hilum", "New label: ki hi"]
    tab.check_access()
    tab.press("ArrowDown", "Enter")
    tab.press("l")
    tab.tab.keyboard.type("LIVER/left/upper".lower())
    assert offered(tab)[0] == "liver/left/upper"
    tab.press("Enter")
    reviews = decided(tab, tmp_path)
    assert reviews["label"].tolist() == ["kidney/right/hilum", "liver/left/upper"]
    assert reviews["decision"].tolist() == ["relabel", "relabel"]


def test_a_new_label_is_chosen_as_such(tab, tmp_path):
    tab.press("l")
    tab.tab.keyboard.type("hilum")
    # Part of others, it is one of them unless the last line is taken.
    assert offered(tab)[-1] == "New label: hilum"
    tab.press("ArrowUp", "Enter")
    assert decided(tab, tmp_path)["label"].tolist() == ["hilum"]


def test_enter_alone_gives_no_label(tab, tmp_path):
    tab.press("l", "Enter")
    tab.wait("#label-error", "label")
    # An arrow takes the first that the card asks about.
    tab.press("ArrowDown", "Enter")
    closed(tab)
    assert decided(tab, tmp_path)["label"].tolist() == [LABELS[0]]


def test_a_click_chooses_and_no_digit_does(tab, tmp_path):
    tab.press("1")
    tab.wait("#said", "18 labels: press l")
    assert tab.tab.locator("#digits button").all_inner_texts() == ["one of 18…l"]
    tab.tab.click("#digits button")
    tab.tab.fill("#label-text", "right upper")
    tab.tab.click("#label-found li >> nth=2")
    assert decided(tab, tmp_path)["label"].tolist() == ["kidney/right/upper"]


def test_one_image_large_finds_labels_too(tab, tmp_path):
    tab.press("Enter")
    tab.tab.locator("#focus").wait_for()
    assert not tab.tab.locator("#focus-digits").is_visible()
    tab.press("1")
    tab.wait("#focus-said", "press l")
    tab.press("l")
    tab.tab.keyboard.type("lung right low")
    tab.press("Enter")
    closed(tab)
    tab.press("Escape")
    assert decided(tab, tmp_path)["label"].tolist() == ["lung/right/lower"]


def test_nine_labels_keep_their_keys(visit, tmp_path):
    tab = visit(
        write_page(tmp_path / "few", [card(0)], classes=["dots", "ring", *"abcdefg"]).as_uri()
    )
    tab.press("l")
    assert not tab.tab.locator("#label-found").is_visible()
    tab.press("Escape")
    closed(tab)
    tab.press("2")
    assert decided(tab, tmp_path)["label"].tolist() == ["ring"]
