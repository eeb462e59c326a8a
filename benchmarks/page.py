"""How quickly does an audit page of many cards open, and how much of the browser's heap it takes.

Made-up cards with a picture each, and five tiles in each of 400 clusters; Chromium opens the page
from disk. Measured are the time until the first cards are drawn, the JavaScript heap, a key at the
far end of the list, the search, the cluster view, and from a key to the next frame: the median over
40 decisions on the cards, and with one image large.

    python -m benchmarks.page --cards 5000 --out page.json
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from clusterkit.auditing.page import Card, Cluster, Match, Summary, Tile, render_page
from clusterkit.auditing.pictures import heat_picture, save_picture


def make_card(folder: Path, number: int) -> Card:
    """Make a card with pictures of its own, as a real one has."""
    rng = np.random.default_rng(number)
    name = f"thumbs/{number:06d}"
    small = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    save_picture(small.resize((256, 256)), folder / f"{name}.jpg")
    save_picture(heat_picture(rng.uniform(size=(64, 64)), (256, 256)), folder / f"{name}.png")
    label = f"class {number % 12}"
    match = Match(f"labeled/{label}/{number}.png", label, 0.9, f"{name}.jpg", f"{name}.png",
                  f"{name}.png")  # fmt: skip
    return Card(
        image=f"unlabeled/patient-{number % 60:02d}/scan-{number:06d}.png",
        image_id=f"{number:016x}", status=["assigned", "review", "novel"][number % 3],
        predicted_label=label, confidence=rng.uniform(), label_set=[label, "class 3"],
        classifier_label=label, classifier_probability=0.8, similarity=0.7, gate=[label],
        nearest_image=match.image, nearest_label=label, nearest_similarity=0.9, novelty_p=0.3,
        cluster=number % 400 if number % 3 else None, group=f"patient-{number % 60:02d}",
        duplicate_of="", reason="Confidence 0.4594 is below the threshold 0.9; it looks alike.",
        thumb=f"{name}.jpg", classifier_cam=f"{name}.png", matches=[match] * 3,
    )  # fmt: skip


def make_tile(card: Card, cluster: int, number: int) -> Tile:
    """Make a member of a cluster that has no card."""
    return Tile(f"unlabeled/other/scan-{cluster:04d}-{number}.png", f"f{cluster:09x}{number:06x}",
                "review", card.predicted_label, card.thumb)  # fmt: skip


def write_page(folder: Path, count: int) -> Path:
    """Write a page of so many cards."""
    cards = [make_card(folder, number) for number in range(count)]
    clusters = [
        Cluster(n, 20, 13, 4, cards[n].image, cards[n].image_id, {cards[n].predicted_label: 20},
                [make_tile(cards[n], n, k) for k in range(5)])
        for n in range(min(400, count))
    ]  # fmt: skip
    return render_page(folder, cards, Summary(
        title="clusterkit audit", run="made up", created="", key="0" * 16,
        classes=[f"class {n}" for n in range(12)], clusters=clusters, counts={"review": count},
        promise="", threshold=0.9, held_out=[], checks=[], plots=[], facts=[], shown=count,
        total=count, warnings=[],
    ))  # fmt: skip


def seconds(work) -> float:
    """Time one step."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def drawn(page: Page) -> None:
    """Wait until the first pictures of what is shown are there."""
    page.locator("#cards > :first-child img").first.evaluate("image => image.decode()")


# The time from a key until the frame that shows what it changed is made.
KEYS = """() => {
  window.frames_ = [];
  addEventListener("keydown", (event) => requestAnimationFrame(() => setTimeout(
    () => window.frames_.push(performance.now() - event.timeStamp))), true);
}"""


def key_to_drawn(page: Page, key: str, ready: str) -> float:
    """Press a key 40 times, each when an element is there; median seconds until it is drawn."""
    page.evaluate("() => { window.frames_.length = 0 }")
    for _ in range(40):
        page.locator(ready).first.wait_for()
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    return median(page.evaluate("() => window.frames_")) / 1000


def measure(url: str, count: int) -> dict[str, float]:
    """Open a page in a new browser and use it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        client = page.context.new_cdp_session(page)
        client.send("Performance.enable")

        def heap() -> float:
            found = {
                m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]
            }
            return found["JSHeapUsedSize"] / 1e6

        figures = {"open, s": seconds(lambda: (page.goto(url), drawn(page)))}
        figures["heap after opening, MB"] = heap()
        page.evaluate(KEYS)
        page.keyboard.press("j")
        figures["key to drawn, cards, s"] = key_to_drawn(page, "x", ".card")
        page.keyboard.press("Enter")
        figures["key to drawn, large, s"] = key_to_drawn(page, "x", "#pane-own img")
        page.keyboard.press("Escape")
        page.click("[data-tab=all]")
        pages = (count - 1) // 48

        def turn() -> None:
            for _ in range(pages):
                page.locator(".pager .after").first.click()
            drawn(page)

        figures["next page, s"] = seconds(turn) / max(1, pages)
        figures["key j at the end, s"] = seconds(lambda: page.keyboard.press("j"))
        figures["key a at the end, s"] = seconds(lambda: page.keyboard.press("a"))
        figures["cluster view, s"] = seconds(
            lambda: (page.click("[data-tab=clusters]"), drawn(page))
        )
        page.click("[data-tab=all]")
        figures["search, s"] = seconds(lambda: (
            page.fill("#search", f"scan-{count - 1:06d}"),
            page.locator("#count").filter(has_text="1 image").wait_for(),
        ))  # fmt: skip
        figures["heap at the end, MB"] = heap()
        browser.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cards", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(Path(folder), options.cards)
        figures = {"cards": options.cards, "index.html, MB": page.stat().st_size / 1e6}
        figures |= measure(page.as_uri(), options.cards)
    for name, value in figures.items():
        print(f"{name:26s} {value:9.3f}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
