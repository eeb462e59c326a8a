"""The pictures of the README and the docs, taken of the page as it is now.

Run from the project's folder::

    python docs/screenshots.py                  # runs the demo first: some minutes
    python docs/screenshots.py clusterkit-demo  # takes the pictures of a demo that is there

Needs the extra `dev` and the system's Chromium.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1280, 1310
# Bytes; a README is read over slow lines too.
LARGEST = 300_000


def main() -> None:
    """Take the pictures, of a demo that is given or of a new one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", nargs="?", type=Path, help="folder of an earlier demo")
    folder = parser.parse_args().demo
    if folder is not None:
        take(folder / "run" / "audit" / "index.html")
        return
    from clusterkit.demo import demo

    with tempfile.TemporaryDirectory() as place:
        take(demo(Path(place) / "demo").page)


def take(page: Path) -> None:
    """Write the pictures of an audit page."""
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        size = {"width": WIDTH, "height": HEIGHT}
        tab = browser.new_page(viewport=size, color_scheme="light")
        tab.goto(page.absolute().as_uri())
        show_cards(tab, "290px", "all", "image")
        tab.screenshot(path=IMAGES / "audit-page.png")
        sharp = browser.new_page(viewport=size, color_scheme="light", device_scale_factor=2)
        sharp.goto(page.absolute().as_uri())
        show_cards(sharp, "350px", "assigned", "-confidence")
        card = sharp.locator("#cards article", has_text="labelled ring").first
        card.screenshot(path=IMAGES / "card.png")
        tab.set_viewport_size({"width": 1100, "height": 720})
        tab.click("[data-tab=refused]")
        tab.click("#start")
        tab.locator("#focus[data-seen]").wait_for()
        tab.wait_for_timeout(500)
        tab.screenshot(path=IMAGES / "large-view.png")
        browser.close()
    for name in ("audit-page.png", "card.png", "large-view.png"):
        shrink(IMAGES / name)


def show_cards(tab: Page, size: str, status: str, order: str) -> None:
    """Show the cards of a status with their similarity CAMs."""
    tab.select_option("#sort", order)
    tab.click("#filters summary")
    tab.select_option("#size", size)
    tab.click(f"[data-tab={status}]")
    tab.press("#filters", "Escape")
    tab.locator("#layers button[data-layer=cam]").click()
    tab.evaluate("window.scrollTo(0, 0)")
    tab.wait_for_timeout(500)


def shrink(path: Path) -> None:
    """Keep 256 colours: screenshots have few, and a third of the bytes is left."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")


if __name__ == "__main__":
    main()
