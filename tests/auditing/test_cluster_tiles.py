"""Members of clusters as tiles, with a card or without: sorted, looked at, named, kept."""

from collections import Counter
from dataclasses import replace

import pytest

from clusterkit.auditing.page import Cluster, Tile
from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews
from tests.pages import card, write_page


def tile_of(number: int, **values) -> Tile:
    return replace(Tile(f"far/{number:04d}.png", f"b{number:015x}", "review", "dots",
                        "thumbs/t.jpg"), **values)  # fmt: skip


def page_of(folder, cards: int, tiles: int, size: int | None = None, **values):
    """A page of one cluster of some cards and some tiles."""
    shown = [card(n, cluster=4) for n in range(cards)]
    small = [tile_of(n, **values) for n in range(tiles)]
    cluster = Cluster(4, size or cards + tiles, cards, 0, "far/0000.png", tile_of(0).image_id,
                      {"dots": cards + tiles}, small)  # fmt: skip
    return write_page(folder, [*shown, card(90, cluster=None)], clusters=[cluster])


def opened(visit, page):
    tab = visit(page.as_uri())
    tab.tab.click("[data-tab=clusters]")
    return tab


def name(tab, text: str) -> None:
    tab.tab.fill(".naming input", text)
    tab.press("Enter")
    tab.tab.locator("#check[open]").wait_for()


def rows_of(tab, path):
    tab.export(path)
    return read_reviews(path).set_index("image_id")


def test_all_members_are_sorted_checked_and_named(visit, tmp_path):
    tab = opened(visit, page_of(tmp_path / "audit", 3, 12))
    assert tab.tab.locator(".members .tile").count() == 15
    assert "no picture here" not in tab.text("#cards")
    # The most typical first.
    assert tab.tab.locator(".tile").first.get_attribute("aria-label") == "put far/0000.png aside"
    tab.tab.locator(".tile[title^='far/0003.png']").focus()
    tab.press("x")
    tab.tab.locator(".tile[title^='new/0001.png']").click()
    name(tab, "rosette")
    assert "10 images of cluster 4, drawn by chance" in tab.text("#check-text")
    assert tab.text("#check-name") == "Name 13 images “rosette”"
    # One of the ten is something else.
    odd = tab.tab.locator("#check-tiles .tile").first
    odd_name = odd.get_attribute("title").split(":")[0]
    odd.click()
    assert tab.text("#check-name") == "Name 12 images “rosette”"
    tab.tab.click("#check-name")
    found = rows_of(tab, tmp_path / "r.csv")
    assert found.loc["cluster:4", ["label", "decision"]].tolist() == ["rosette", "relabel"]
    rejected = set(found.index[found["decision"] == "reject"])
    assert set(found["image"][list(rejected)]) == {"far/0003.png", "new/0001.png", odd_name}
    checked = found[found["note"] == "checked with cluster 4"]
    assert len(checked) == 9
    assert set(checked["label"]) == {"rosette"}
    assert any(image.startswith("far/") for image in checked["image"])
    assert "12 images decided by themselves" in tab.text(".decided")


def test_a_decision_of_a_tile_is_taken_back_and_undone(visit, tmp_path):
    tab = opened(visit, page_of(tmp_path / "audit", 1, 3))
    tab.tab.locator(".tile[title^='far/0001.png']").click()
    tab.tab.reload()
    tab.tab.click("[data-tab=clusters]")
    # What was put aside is, after the page was closed too.
    assert tab.tab.locator(".tile[aria-pressed=true]").count() == 1
    name(tab, "rosette")
    tab.tab.click("#check-name")
    decided = tab.tab.locator(".tile[data-decision=reject]")
    assert decided.get_attribute("aria-label") == "far/0001.png: rejected. Take that back"
    decided.click()
    assert decided.count() == 0
    assert tab.tab.locator(".tile[title^='far/0001.png']").evaluate(
        "one => one === document.activeElement"
    )
    assert tile_of(1).image_id not in rows_of(tab, tmp_path / "r.csv").index
    tab.press("u")
    assert decided.count() == 1
    tab.press("u")
    assert tab.tab.locator(".tile[data-decision]").count() == 0
    assert tab.tab.is_disabled("#export")


def test_a_check_is_a_random_part_of_the_whole_cluster(visit, tmp_path):
    # 20 cards, 20 tiles that stand for 180: about one of ten looked at is a card.
    tab = opened(visit, page_of(tmp_path / "audit", 20, 20, 200))
    assert "160 more images of it have no picture here" in tab.text("#cards")
    drawn = tab.tab.evaluate("""() => [...Array(400)].flatMap(() => someOf(data.clusters[0]))
        .map((one) => one.image.slice(0, 3))""")
    counts = Counter(drawn)
    assert sum(counts.values()) == 4000
    # Binomial(4000, 0.1) has a standard deviation of 19, the hypergeometric a little less.
    assert abs(counts["new"] - 400) < 100


def test_what_has_no_picture_was_not_looked_at(visit, tmp_path):
    tab = opened(visit, page_of(tmp_path / "audit", 0, 6, thumb=None))
    name(tab, "rosette")
    assert "Nothing of cluster 4 is left to look at here" in tab.text("#check-text")
    tab.tab.click("#check-name")
    assert rows_of(tab, tmp_path / "r.csv").index.tolist() == ["cluster:4"]


def test_pictures_that_do_not_come_were_not_looked_at(browser, tmp_path):
    page = page_of(tmp_path / "audit", 2, 2, thumb="thumbs/gone.jpg")
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.click("[data-tab=clusters]")
    tab.locator(".tile", has_text="picture not found").nth(1).wait_for()
    tab.fill(".naming input", "rosette")
    tab.keyboard.press("Enter")
    tab.click("#check-name")
    with tab.expect_download() as download:
        tab.click("#export")
    download.value.save_as(tmp_path / "r.csv")
    found = read_reviews(tmp_path / "r.csv")["image_id"].tolist()
    assert sorted(found) == sorted(["cluster:4", card(0).image_id, card(1).image_id])
    context.close()


def test_a_file_about_tiles_is_taken_compared_and_given_back(visit, tmp_path):
    page = page_of(tmp_path / "audit", 2, 3)
    text = ",".join(REVIEW_COLUMNS) + "\n" + "".join(
        f"{tile_of(n).image_id},far/{n:04d}.png,ring,relabel,Dr B,,\n" for n in range(2)
    )  # fmt: skip
    (tmp_path / "in.csv").write_text(text)
    tab = opened(visit, page)
    tab.tab.locator(".tile[title^='far/0000.png']").click()
    name(tab, "rosette")
    tab.tab.click("#check-name")
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.tab.locator("#compare[open]").wait_for()
    assert "of 2 images that both decided, 0 answers agree" in tab.text("#compare-text")
    tab.tab.click("#compare-settle")
    assert "2 of them have no card: they are tiles of cluster 4" in tab.text("#said")
    tab.tab.click("[data-tab=clusters]")
    told = tab.tab.locator(".tile[title^='far/0000.png']").get_attribute("title")
    assert told == "far/0000.png: rejected; Dr B: ring"
    tab.tab.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    printed = tab.tab.locator("#report tbody").text_content()
    assert "far/0000.png" in printed
    assert "cluster 4: 5 images" in printed


def test_rows_kept_for_images_that_the_page_did_not_show_come_back_to_them(visit, tmp_path):
    folder = tmp_path / "audit"
    tab = opened(visit, page_of(folder, 1, 0, 4))
    row = f"{tile_of(1).image_id},far/0001.png,,accept,Dr B,2026-01-01T00:00:00Z,\n"
    (tmp_path / "in.csv").write_text(",".join(REVIEW_COLUMNS) + "\n" + row)
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said", "1 decision read, 0 of them about images on this page")
    # The page is made anew with more of them.
    page_of(folder, 1, 3)
    tab.tab.reload()
    tab.tab.click("[data-tab=clusters]")
    assert tab.tab.locator(".tile[data-decision=accept]").count() == 1
    assert rows_of(tab, tmp_path / "r.csv")["label"].tolist() == ["dots"]


@pytest.mark.slow
def test_a_large_cluster_is_drawn_in_parts(visit, tmp_path):
    tab = opened(visit, page_of(tmp_path / "audit", 1, 3000))
    assert tab.tab.locator(".tile").count() == 240
    tab.tab.get_by_role("button", name="Show all 3,001 images").click()
    assert tab.tab.locator(".tile").count() == 3001
