"""From labels to a certificate by keyboard, interrupted twice, as a person does it."""

import json
import re
import signal
import subprocess
import sys

import pytest

from clusterkit import read_assignments, verify
from clusterkit.formats.assignments import write_assignments

pytestmark = pytest.mark.slow

KEYS = {"dots": "1", "ring": "2", "rod": "3"}


class Command:
    """`clusterkit certify --serve` in a process of its own."""

    def __init__(self, run, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from clusterkit.cli import main; main()", "certify",
             "--run", str(run), "--serve", *options],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines = []
        while not (found := re.search(r"http://\S+", "".join(self.lines[-1:]))):
            line = self.process.stdout.readline()
            assert line, self.lines
            self.lines.append(line)
        self.url = found[0]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()


def answer(tab, labels, count):
    """Answer so many images by keyboard, as they are labelled."""
    done = []
    for _ in range(count):
        tab.locator('#stage[data-seen]:not([data-seen=""])').wait_for()
        tab.wait_for_timeout(300)
        identity = tab.get_attribute("#stage", "data-seen")
        tab.keyboard.press(KEYS[labels[identity]])
        # The next one, or the end; an image is now and then asked once more.
        tab.wait_for_function(
            "(seen) => !document.getElementById('end').hidden ||"
            " document.getElementById('stage').dataset.seen !== seen", arg=identity)  # fmt: skip
        done.append(identity)
    return done


def begin(tab, url, name="Dr A"):
    tab.goto(url)
    tab.fill("#reader", name)
    tab.keyboard.press("Enter")
    skip = tab.locator("#skip-practice")
    if skip.is_visible():
        skip.click()


def test_thirty_answers_interrupted_twice(batch, browser, command):
    server = Command(batch.run, "--max-error", "0.03")
    labels = batch.labels()
    context = browser.new_context()
    tab = context.new_page()
    begin(tab, server.url)
    answer(tab, labels, 9)
    # The page is closed, and opened again.
    tab.close()
    tab = context.new_page()
    begin(tab, server.url)
    answer(tab, labels, 6)
    tab.wait_for_function("() => !waiting.length")
    server.kill()
    # The server is dead: two more answers, which wait in the browser.
    answer(tab, labels, 2)
    tab.close()
    server = Command(batch.run)
    tab = context.new_page()
    tab.goto(server.url)
    tab.wait_for_function("() => !waiting.length")
    begin(tab, server.url)
    said = []
    while not tab.is_visible("#end-title") and len(said) < 30:
        said += answer(tab, labels, 1)
    tab.wait_for_function("() => !waiting.length")
    server.kill()
    context.close()
    reviews = str(batch.run / "reviews.csv")
    assert command("certify", "--run", str(batch.run), "--reviews", reviews)[0] == 0
    found = json.loads((batch.run / "assignments.json").read_text())["certificate"]
    assert found["certified"]
    # One of the answers was asked once more.
    assert 30 <= found["answered"] == 17 + len(said) - 1
    assert (found["checked"] > 0, found["different"]) == (True, 0)
    assert verify(batch.folder).stands
    assert command("certify", "--verify", str(batch.folder))[0] == 0
    table = read_assignments(batch.csv)
    row = table.index[table["status"] == "assigned"][0]
    label = table.at[row, "predicted_label"]
    table.at[row, "predicted_label"] = next(name for name in KEYS if name != label)
    write_assignments(table, batch.csv)
    assert command("certify", "--verify", str(batch.folder))[0] == 1
