"""A real browser for the tests of the page: the system's Chromium, driven by Playwright."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def open_browser() -> Iterator:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Watched:
    """A tab whose console must stay silent and which must not ask the network for anything."""

    def __init__(self, context, page_url: str) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.tab = context.new_page()
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(page_url)

    def again(self, page_url: str) -> "Watched":
        """Open a page in another tab of the same profile."""
        return Watched(self.context, page_url)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def text(self, selector: str) -> str:
        # A card that has just come has no text before the browser has seen that it is on the screen
        # (`content-visibility`), which is in one of the next two frames.
        self.tab.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        return self.tab.inner_text(selector)

    def wait(self, selector: str, text: str) -> None:
        self.tab.locator(selector).filter(has_text=text).wait_for()

    def export(self, path) -> None:
        with self.tab.expect_download() as download:
            self.tab.click("#export")
        download.value.save_as(path)

    def check_access(self) -> None:
        """Find nothing serious that keeps people from using the page as it is now."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        found = axe.Axe().run(self.tab).response["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(
            [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in serious], indent=1
        )

    def check(self, scheme: str) -> None:
        assert self.complaints == [], self.complaints
        assert all(url.startswith((scheme, "blob:")) for url in self.asked), self.asked
