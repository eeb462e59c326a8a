"""The page: one HTML file with the pictures of each finding side by side."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from clusterkit.config import Config
from clusterkit.data.frames import name_of
from clusterkit.data.imageio.read import read_bytes
from clusterkit.data.left_out import LeftOut
from clusterkit.errors import ImageError
from clusterkit.formats.atomic import final_name, is_abandoned, replacing, write_text
from clusterkit.formats.page_script import page_script
from clusterkit.inspection.files_left_out import LEFT_OUT
from clusterkit.inspection.findings import (
    KINDS,
    Finding,
    FindingKind,
    severity_of,
)
from clusterkit.inspection.questions import as_json, label_questions
from clusterkit.inspection.scan import Scan, open_image

log = logging.getLogger("clusterkit")

# Folder of the pictures.
THUMBS = "thumbs"
GENERATOR = '<meta name="generator" content="clusterkit inspect">'

# Findings of a kind, and pictures of a finding, that are shown.
_FINDINGS, _PICTURES = 100, 12

# Longest side of a thumbnail, in pixels.
_THUMB = 192

# Title and rule of what rests on looks alone: a note, and nothing is said to be wrong.
_BY_LOOKS = {
    "conflicting_labels": (
        "Pictures that look the same, under different labels",
        "Near duplicates have different labels. They may be two pictures of one thing, or alike "
        "and not the same: look at both."),
    "duplicate_across_splits": (
        "Pictures that look the same, in several splits",
        "Near duplicates are in different splits: if they are one picture, what is measured on "
        "the one was learned from the other."),
    "duplicate_across_groups": (
        "Pictures that look the same, of several groups",
        "Near duplicates belong to different groups (patients): if they are one picture, a split "
        "by group would not keep them together."),
}  # fmt: skip

_OWN = re.compile(r"[0-9a-f]{16}(_\d+)?\.jpg(\.partial)?")


@dataclass(frozen=True)
class Picture:
    """One image of a finding; `thumb` is relative to the page, or None."""

    image: str
    label: str
    group: str
    split: str
    size: str
    score: float | None
    detail: str
    thumb: str | None


def render_page(
    out: Path,
    scan: Scan,
    found: list[tuple[FindingKind, Finding]],
    summary: dict[str, Any],
    config: Config,
    to_label: Sequence[int] = (),
) -> Path:
    """Write ``index.html`` and its thumbnails into `out`, and return the page's path.

    Parameters
    ----------
    found : list of (FindingKind, Finding)
        As from `find_all`; at most 100 findings of a kind and 12 pictures of each are shown.
    summary : dict
        See `Inspection.summary`.
    to_label : sequence of int
        Positions of the images to label first; at most 100 are shown.
    """
    thumbs = _Thumbs(out, scan, config)
    first = [_picture(scan, place, f"number {number}", None, thumbs)
             for number, place in enumerate(to_label[:_FINDINGS], start=1)]  # fmt: skip
    sections = [section for kind in KINDS for severity in ("problem", "note")
                if (section := _section(scan, found, kind, severity, thumbs))]  # fmt: skip
    shown = frozenset(strip["number"] for section in sections for strip in section["strips"])
    asked, key = as_json(label_questions(scan, found, shown))
    loader = PackageLoader("clusterkit.inspection")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True)  # fmt: skip
    script, digest = page_script("clusterkit.inspection", ["page.js"])
    html = environment.get_template("index.html").render(
        summary=summary,
        sections=sections,
        first=first,
        to_label=len(to_label),
        left_out=LeftOut.of_record(summary["left_out"]).sentences(),
        left_out_kind=LEFT_OUT,
        absent=[kind for kind in KINDS if kind.name not in summary["findings"]],
        css=Markup(loader.get_source(environment, "page.css")[0]),
        js=Markup(script),
        digest=digest,
        questions=asked,
        key=key,
        generator=Markup(GENERATOR),
    )
    path = out / "index.html"
    write_text(path, html)
    # Only now: until here the earlier page was there, and showed them.
    thumbs.drop_others()
    return path


def _section(
    scan: Scan,
    found: list[tuple[FindingKind, Finding]],
    kind: FindingKind,
    severity: str,
    thumbs: "_Thumbs",
) -> dict[str, Any] | None:
    """Gather the findings of a kind that are as severe; None: there are none."""
    own = [(number, one) for number, (k, one) in enumerate(found, start=1)
           if k is kind and severity_of(k, one) == severity]  # fmt: skip
    if not own:
        return None
    by_looks = severity != kind.severity
    title, rule = _BY_LOOKS[kind.name] if by_looks else (kind.title, kind.rule)
    return {
        "id": f"{kind.name}-by-looks" if by_looks else kind.name,
        "title": title,
        "rule": rule,
        "severity": severity,
        "strips": [_strip(scan, *numbered, thumbs) for numbered in own[:_FINDINGS]],
        "total": len(own),
        "images": len({place for _, one in own for place in one.rows}),
        "numbered": any(len(one.rows) > 1 for _, one in own),
    }


def _strip(scan: Scan, number: int, one: Finding, thumbs: "_Thumbs") -> dict[str, Any]:
    scores = one.scores or [None] * len(one.rows)
    items = list(zip(one.rows, one.details, scores, strict=True))[:_PICTURES]
    # One sentence a finding: a detail that all pictures share stands there once.
    shared = one.said or None
    if shared is None and len(one.rows) > 1 and len(set(one.details)) == 1:
        shared = one.details[0]
    return {
        "number": number,
        "pictures": [_picture(scan, *item, thumbs) for item in items],
        "shared_detail": shared,
        "more": max(0, len(one.rows) - _PICTURES),
    }


def _picture(scan: Scan, place: int, detail: str, score: float | None, thumbs) -> Picture:
    row = scan.rows.iloc[place]
    label, group, split = (row[c] or "" for c in ("label", "group", "split"))
    size = "" if row["error"] else f"{row['width']} x {row['height']}"
    thumb = None if row["error"] else thumbs.draw(row)
    return Picture(
        name_of(row["image"], row["frame"]), label, group, split, size, score, detail, thumb
    )


class _Thumbs:
    """Thumbnails by image id, each drawn once."""

    def __init__(self, out: Path, scan: Scan, config: Config) -> None:
        self.folder, self.config = out / THUMBS, config
        self.drawn: dict[str, str | None] = {}

    def draw(self, row) -> str | None:
        """Write a thumbnail if it is not there, and return its path relative to the page."""
        image_id = row["image_id"]
        if image_id not in self.drawn:
            name = image_id.replace("#", "_") + ".jpg"
            self.drawn[image_id] = self._write(row, name)
        return self.drawn[image_id]

    def _write(self, row, name: str) -> str | None:
        try:
            image, _ = open_image(read_bytes(row["path"]), row["frame"], self.config)
        except ImageError as error:
            log.info("no picture of %s: %s", row["image"], error)
            return None
        self.folder.mkdir(exist_ok=True)
        image.thumbnail((_THUMB, _THUMB), Image.Resampling.LANCZOS)
        with replacing(self.folder / name, "wb", sync=False) as file:
            image.save(file, format="JPEG", quality=88)
        return f"{THUMBS}/{name}"

    def drop_others(self) -> None:
        """Remove the thumbnails of an earlier page that this one does not show."""
        kept = {Path(path).name for path in self.drawn.values() if path}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                name = final_name(path.name)
                dropped = is_abandoned(path) if path.name != name else name not in kept
                if dropped and _OWN.fullmatch(name):
                    path.unlink(missing_ok=True)
