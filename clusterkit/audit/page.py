"""The audit page: one HTML file that opens from disk and needs no network."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_PICTURES = ("thumb", "cam", "classifier_cam", "nearest_thumb", "nearest_cam")

# What a script element's text must not hold, written as JSON's own escapes.
_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


@dataclass(frozen=True)
class Card:
    """One image and its evidence: a row of `assignments.csv` with its pictures.

    The last five are paths relative to the page, or None: the image, its Siamese and classifier
    CAM, the nearest labelled image, and that image's Siamese CAM.
    """

    image: str
    image_id: str
    status: str
    predicted_label: str
    confidence: float | None
    label_set: list[str]
    classifier_label: str
    classifier_probability: float | None
    similarity: float | None
    gate: list[str]
    nearest_image: str
    nearest_label: str
    nearest_similarity: float | None
    novelty_p: float | None
    cluster: int | None
    group: str
    duplicate_of: str
    reason: str
    thumb: str | None = None
    cam: str | None = None
    classifier_cam: str | None = None
    nearest_thumb: str | None = None
    nearest_cam: str | None = None


@dataclass(frozen=True)
class Summary:
    """What stands above the cards.

    Attributes
    ----------
    counts : dict
        Images of the whole batch by status.
    promise : str
        What is promised, in words.
    held_out : list of (name, value, explanation)
    plots : list of (path relative to the page, caption)
    facts : list of (name, value)
    shown, total : int
        Cards on the page, and images in the batch.
    """

    title: str
    run: str
    created: str
    counts: dict[str, int]
    promise: str
    threshold: float | None
    held_out: list[tuple[str, str, str]]
    plots: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    shown: int
    total: int
    warnings: list[str]


def render_page(out: Path, cards: list[Card], summary: Summary) -> Path:
    """Write ``index.html`` into `out`, whole or not at all, and return its path."""
    environment = Environment(
        loader=PackageLoader("clusterkit.audit"), autoescape=True, undefined=StrictUndefined
    )
    loader = environment.loader
    rows = [_with_urls(asdict(card)) for card in cards]
    data = {"cards": rows, "threshold": summary.threshold}
    html = environment.get_template("index.html").render(
        summary=summary,
        plots=[(quote(path), caption) for path, caption in summary.plots],
        data=script_json(data),
        css=Markup(loader.get_source(environment, "page.css")[0]),
        js=Markup(loader.get_source(environment, "page.js")[0]),
    )
    path = out / "index.html"
    partial = out / "index.html.partial"
    # Names that are no valid Unicode (as some file systems allow) must not stop the page.
    partial.write_text(html, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, path)
    return path


def script_json(values: object) -> Markup:
    """Write JSON that cannot end the script element it stands in.

    >>> script_json({"a": "</script>"})
    Markup('{"a": "\\\\u003c/script\\\\u003e"}')
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return Markup("".join(_ESCAPES.get(letter, letter) for letter in text))


def _with_urls(row: dict) -> dict:
    return row | {key: quote(row[key]) if row[key] else None for key in _PICTURES}
