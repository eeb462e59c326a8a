"""Audit pages of made-up cards, and what stands in the data of a page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from clusterkit.auditing.page import Card, Cluster, Match, Summary, render_page
from clusterkit.auditing.pictures import heat_picture, save_picture

SCRIPT = "<script>alert(1)</script>"
ODD_NAME = 'it\'s "odd" & new\nline.png'


def card(number: int = 0, **values) -> Card:
    label = ["dots", "ring"][number % 2]
    matches = [Match(f"l{k}.png", label, 0.9 - k / 10, "thumbs/t.jpg", "thumbs/h.png",
                     "thumbs/h.png") for k in range(3)]  # fmt: skip
    base = Card(
        image=f"new/{number:04d}.png", image_id=f"a{number:015x}", status="review",
        predicted_label=label, confidence=0.5 + number % 40 / 100, label_set=[label],
        classifier_label=label, classifier_probability=0.6, similarity=0.7, gate=["dots", "ring"],
        nearest_image="l0.png", nearest_label=label, nearest_similarity=0.9, novelty_p=0.2,
        cluster=number % 3, group=f"p{number % 5}", duplicate_of="", reason="It looks alike.",
        order=number + 1, thumb="thumbs/t.jpg", classifier_cam="thumbs/h.png", matches=matches,
    )  # fmt: skip
    return replace(base, **values)


def summary(cards: list[Card], **values) -> Summary:
    clusters = {}
    for one in cards:
        if one.cluster is not None:
            clusters.setdefault(one.cluster, []).append(one)
    described = [
        Cluster(n, len(own) + 2, len(own), 0, own[0].image, own[0].image_id, {"dots": len(own)})
        for n, own in sorted(clusters.items())
    ]
    base = Summary(
        title="audit", run="run", created="today", key="0123456789abcdef",
        classes=["dots", "ring"], clusters=described, counts={"review": len(cards)},
        promise="At most 5% are wrong.", threshold=0.9, held_out=[("Accuracy", "90%", "of some")],
        checks=[("Depends on the weights", "yes", "as it should")],
        plots=[("plots/x.png", "A plot.")], facts=[("Backbone", "resnet18")],
        shown=len(cards), total=len(cards) + 3, warnings=[],
    )  # fmt: skip
    return replace(base, **values)


def picture_of(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))


def write_page(folder: Path, cards: list[Card], **values) -> Path:
    """Render a page with one small picture, one heat map and one plot for all."""
    picture = picture_of(64, 64)
    save_picture(picture, folder / "thumbs" / "t.jpg")
    save_picture(heat_picture(np.linspace(0, 1, 1024).reshape(32, 32), (64, 64)),
                 folder / "thumbs" / "h.png")  # fmt: skip
    (folder / "plots").mkdir(exist_ok=True)
    picture.save(folder / "plots" / "x.png")
    return render_page(folder, cards, summary(cards, **values))


def data_of(page: Path) -> dict:
    text = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1]
    return json.loads(text)
