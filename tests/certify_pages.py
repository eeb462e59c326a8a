"""Certify pages of made-up images whose truth the tests know, and the server of one."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from clusterkit.auditing.review_file import ReviewFile
from clusterkit.auditing.serve import ReviewServer
from clusterkit.certifying.certify_page import (
    AskedImage,
    CertifyPage,
    PageSet,
    PracticeImage,
    render_certify_page,
)
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_answers import hold
from clusterkit.formats.reviews import REVIEW_COLUMNS

CLASSES = ["dots", "ring"]


@cache
def picture_of(label: str, number: int) -> bytes:
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(150, 190, (160, 160, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = rng.integers(30, 70, 2)
    if label == "ring":
        draw.ellipse((x, y, x + 60, y + 60), outline=(90, 30, 110), width=9)
    else:
        for dx, dy in ((0, 0), (30, 12), (12, 40)):
            draw.ellipse((x + dx, y + dy, x + dx + 16, y + dy + 16), fill=(90, 30, 110))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def image_id(number: int) -> str:
    return f"a{number:015x}"


def asked(count: int, set_of=lambda number: 0, unit_of=lambda number: number, **values):
    """Images in the drawn order; the label that was set is right unless a test says otherwise."""
    return [
        AskedImage(image_id(n), f"batch/patient{n % 7}/{n:03}.png", CLASSES[n % 2], set_of(n),
                   unit_of(n), f"thumbs/{n:04x}.png", **values)
        for n in range(count)
    ]  # fmt: skip


def page_of(images: list[AskedImage], **values) -> CertifyPage:
    base = CertifyPage(
        title="Certify “dots / ring”", run="runs/demo · batch B", created="2026-11-28",
        key="certify 0123456789abcdef", fingerprint="x0123456789abcde",
        question="Which of these does the image show?", classes=CLASSES,
        max_error=0.05, confidence=0.9, budget=200, bet=0.85, unit="image", show_label=False,
        sets=[PageSet(1204, 1204)], images=images,
        next_step="clusterkit certify runs/demo --reviews reviews.csv",
        plan=[("Seed", "7"), ("Rule", "at most 5 of 100 wrong, 90% sure"), ("Budget", "200")],
    )  # fmt: skip
    return replace(base, **values)


def write_certify_page(
    folder: Path, page: CertifyPage, truth: dict[int, str] | None = None
) -> Path:
    """Render a page with a picture of the truth for each image: its label where none is given."""
    (folder / "thumbs").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(page.images):
        if image.picture:
            label = (truth or {}).get(number, image.predicted_label)
            (folder / image.picture).write_bytes(picture_of(label, number))
    for number, one in enumerate(page.practice):
        (folder / one.picture).write_bytes(picture_of(one.label, 1000 + number))
    for label, paths in page.typical.items():
        for number, path in enumerate(paths):
            (folder / path).write_bytes(picture_of(label, 2000 + number))
    return render_certify_page(folder, page)


PRACTICE = [PracticeImage(f"thumbs/p{n}.png", CLASSES[n % 2], f"l{n}.png") for n in range(3)]
TYPICAL = {label: [f"thumbs/t-{label}{n}.png" for n in range(3)] for label in CLASSES}


@dataclass
class Served:
    """A page, its reviews.csv, and the server of both, which can be stopped and started anew."""

    folder: Path
    assigned: Assigned
    port: int = 0
    server: ReviewServer | None = None
    thread: threading.Thread | None = None

    @property
    def reviews(self) -> Path:
        return self.folder / "reviews.csv"

    def start(self) -> str:
        labelled = pd.DataFrame({"image_id": [], "label": []}, dtype=object)
        file = ReviewFile(self.reviews, self.assigned, labelled)
        self.server = ReviewServer(self.folder / "certify", file, self.port)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=lambda: self.server.run(lambda url: None))
        self.thread.start()
        return self.server.url

    def stop(self) -> None:
        if self.thread is not None:
            self.server.shutdown()
            self.thread.join(10)
        self.server = self.thread = None


@contextmanager
def serving(folder: Path, page: CertifyPage, truth: dict[int, str] | None = None):
    write_certify_page(folder / "certify", page, truth)
    table = pd.DataFrame(
        [{"image": i.image, "image_id": i.image_id, "predicted_label": i.predicted_label,
          "cluster": None, "group": ""} for i in page.images]
    ).astype({"cluster": "Int64"})  # fmt: skip
    served = Served(folder, Assigned(table, folder, "assignments.csv"))
    try:
        yield served
    finally:
        served.stop()


def other(label: str) -> str:
    return CLASSES[1 - CLASSES.index(label)]


def seen(tab) -> int:
    """Wait until an image has been there long enough to be answered; its number in the sample."""
    tab.tab.locator('#stage[data-seen^="a0"]').wait_for()
    tab.tab.wait_for_timeout(270)
    return int(tab.tab.get_attribute("#stage", "data-seen")[1:], 16)


def begin(tab, name: str = "Dr A") -> None:
    tab.tab.fill("#reader", name)
    tab.press("Enter")


def key_of(label: str) -> str:
    return str(CLASSES.index(label) + 1)


def answer(tab, page: CertifyPage, key: str | None = None) -> int:
    """Answer the image that is asked, as it is labelled or with a key; its number."""
    number = seen(tab)
    tab.press(key or key_of(page.images[number].predicted_label))
    return number


def write_answers(path: Path, page: CertifyPage, said: dict[int, str], reader: str) -> Path:
    """Write a reviews.csv of answers, a minute apart: label by number of the image."""
    rows = []
    for minute, (number, label) in enumerate(said.items()):
        image = page.images[number]
        decision = "accept" if label == image.predicted_label else "relabel"
        rows.append([image.image_id, image.image, label, decision, reader,
                     f"2026-11-20T{8 + minute // 60:02}:{minute % 60:02}:00.000Z", "",
                     page.fingerprint])  # fmt: skip
    columns = [*REVIEW_COLUMNS, "assignments"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def load(tab, path: Path) -> None:
    tab.tab.set_input_files("#file", path)
    tab.wait("section:not([hidden]) > .said, section:not([hidden]) .answers > .said", path.name)


def holding(rows: pd.DataFrame) -> dict[int, str]:
    """Which label holds, by number of the image, as every command reads the rows."""
    held, _ = hold(rows.assign(key=rows["image_id"], ground_truth=False))
    rows = rows.iloc[held]
    return {int(i[1:], 16): label for i, label in zip(rows["image_id"], rows["label"], strict=True)}
