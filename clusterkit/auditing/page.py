"""The audit page: one HTML file that opens from disk and needs no network."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clusterkit.auditing.card_words import STATUS_WORDS, ShownRecord, card_words
from clusterkit.formats.atomic import write_text
from clusterkit.formats.page_script import page_script, relative_url, script_json

# In the order in which they use each other.
_SCRIPTS = ("common/elements", "common/reviews_in", "common/sending", "common/kappa",
            "common/combobox", "base", "history", "store", "names", "files", "served", "cards",
            "verdict", "search", "filters", "clusters", "finish", "compare", "seats",
            "common/zoom", "focus", "keys", "main")  # fmt: skip
# What other pages use too comes first.
_STYLES = ("common", "page")

_PICTURES = ("thumb", "full", "classifier_cam", "cam", "own_cam")


@dataclass(frozen=True)
class Match:
    """Labelled image that a card's image was compared with.

    Pictures are paths relative to the page, or None: `thumb`; `full`, of more pixels; `cam`, the
    heat map that lies over it; `own_cam`, the heat map of the same comparison over the card's own
    image.
    """

    image: str
    label: str
    similarity: float | None
    thumb: str | None = None
    cam: str | None = None
    own_cam: str | None = None
    full: str | None = None


@dataclass(frozen=True)
class Card:
    """One image and its evidence: a row of `assignments.csv` with its pictures.

    `thumb`, `full` and `classifier_cam` are paths relative to the page, or None; `full` shows the
    whole image with more pixels, for the focus view. A CAM is a small PNG with transparency that
    is stretched over the thumbnail. `matches`: the most similar labelled images, the closest first.
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
    order: int | None = None
    thumb: str | None = None
    classifier_cam: str | None = None
    matches: list[Match] = field(default_factory=list)
    full: str | None = None


@dataclass(frozen=True)
class Tile:
    """Member of a cluster that has no card: a small picture, to be sorted.

    `thumb` is a path relative to the page; None: there is no picture.
    """

    image: str
    image_id: str
    status: str
    predicted_label: str
    thumb: str | None


@dataclass(frozen=True)
class Cluster:
    """Similar images of the whole batch that have no label yet.

    Attributes
    ----------
    cluster : int
        Its number.
    size, shown, novel : int
        All its images, those with a card, and those that are like nothing labelled.
    medoid, medoid_id : str
        Name and image_id of the most typical image.
    labels : dict of str to int
        Images by predicted label, the most frequent first.
    tiles : list of Tile
        Members without a card: all, or a random part of them.
    labelled : int
        Further images of it that have got a label since: what is said of it is not about them.
    """

    cluster: int
    size: int
    shown: int
    novel: int
    medoid: str
    medoid_id: str
    labels: dict[str, int]
    tiles: list[Tile] = field(default_factory=list)
    labelled: int = 0


@dataclass(frozen=True)
class Summary:
    """Figures, facts and warnings above the cards.

    Attributes
    ----------
    key : str
        Names this batch of this run; what a person did is kept in the browser under it.
    fingerprint : str
        Of the clusters; rows about them carry it. See `known_images.clusters_fingerprint`.
    fingerprint_before : str
        Of rows of before images of them got labels; "": none did.
    grown_from : list of str
        Of the clusters before the table grew: rows that carry one are not about what is shown.
    classes : list of str
    clusters : list of Cluster
    counts : dict
        Images of the whole batch by status.
    promise : str
        The promise, in words.
    ladder : list of (error, could be labelled, labels that it takes)
        What could be promised at other errors; empty: no need, or it is certified.
    ladder_notes : list of str
        What a reader must know of it.
    certificate : str
        What `certify` found, in words; "": nobody has checked the labels.
    certificate_page : str
        Path of the certificate, relative to the page; "": it is not there.
    held_out : list of (name, value, explanation)
    checks : list of (name, value, explanation)
        Of the CAMs: whether they depend on the model, and mark what it uses.
    plots : list of (path relative to the page, caption)
    facts : list of (name, value)
    shown, total : int
        Cards on the page, and images in the batch.
    assignments : str
        Path of the table, relative to the page; "": not known.
    resize : {"squish", "crop", "pad"}
        How images were made square, so which part of one a heat map covers.
    overlays : {"on", "off"}
        Whether the page begins with the heat maps over the images.
    record : ShownRecord
        What the percentages of cards rest on.
    """

    title: str
    run: str
    created: str
    key: str
    classes: list[str]
    clusters: list[Cluster]
    counts: dict[str, int]
    promise: str
    threshold: float | None
    held_out: list[tuple[str, str, str]]
    checks: list[tuple[str, str, str]]
    plots: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    shown: int
    total: int
    warnings: list[str]
    fingerprint: str = ""
    fingerprint_before: str = ""
    grown_from: list[str] = field(default_factory=list)
    ladder: list[tuple[str, str, str]] = field(default_factory=list)
    ladder_notes: list[str] = field(default_factory=list)
    certificate: str = ""
    certificate_page: str = ""
    assignments: str = ""
    resize: str = "squish"
    overlays: str = "on"
    record: ShownRecord = field(default_factory=ShownRecord)


def render_page(out: Path, cards: list[Card], summary: Summary) -> Path:
    """Write ``index.html`` into `out`, whole or not at all, and return its path."""
    loader = PackageLoader("clusterkit.auditing")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    rows = [_row(asdict(card)) | {"words": asdict(card_words(card, summary.record))}
            for card in cards]  # fmt: skip
    script, digest = page_script("clusterkit.auditing", [f"js/{name}.js" for name in _SCRIPTS])
    data = {
        "cards": rows,
        "threshold": summary.threshold,
        "overlays": summary.overlays,
        "key": summary.key,
        "fingerprint": summary.fingerprint,
        "fingerprint_before": summary.fingerprint_before,
        "grown_from": summary.grown_from,
        "classes": summary.classes,
        "counts": summary.counts,
        "total": summary.total,
        "assignments": relative_url(summary.assignments),
        "resize": summary.resize,
        "status_words": STATUS_WORDS,
        # Pairs: an object with names such as "10" and "2" has an order of its own.
        "clusters": [
            asdict(c)
            | {"labels": list(c.labels.items()), "tiles": [_row(asdict(tile)) for tile in c.tiles]}
            for c in summary.clusters
        ],
    }
    html = environment.get_template("index.html").render(
        summary=summary,
        words=STATUS_WORDS,
        certificate_page=relative_url(summary.certificate_page),
        plots=[(relative_url(path), caption) for path, caption in summary.plots],
        data=script_json(data),
        css=Markup("".join(loader.get_source(environment, f"{name}.css")[0] for name in _STYLES)),
        js=Markup(script),
        digest=digest,
    )
    path = out / "index.html"
    # Names that are no valid Unicode (as some file systems allow) must not stop the page.
    write_text(path, html, errors="backslashreplace")
    return path


def _row(row: dict[str, Any]) -> dict[str, Any]:
    # JSON knows no NaN: a number that is none is an absent one.
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v
              for k, v in row.items()}  # fmt: skip
    urls = {key: relative_url(row[key]) if row[key] else None for key in _PICTURES if key in row}
    matches = {"matches": [_row(match) for match in row["matches"]]} if "matches" in row else {}
    return values | urls | matches
