"""`audit`: choose the rows to show, draw their CAMs, and write the page."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from clusterkit.audit.cam import class_cams, field_offsets, pair_cams
from clusterkit.audit.page import Card, Summary, render_page
from clusterkit.audit.pictures import overlay, save_picture, thumbnail
from clusterkit.audit.plots import (
    confusion_plot,
    reliability_plot,
    risk_coverage_plot,
    status_plot,
)
from clusterkit.config import Config
from clusterkit.data.contents import frame_of
from clusterkit.data.files import inside_root
from clusterkit.data.images import load_image, to_array
from clusterkit.engine.assign import Engine
from clusterkit.engine.calibrate import Calibration
from clusterkit.engine.table import STATUSES, read_assignments
from clusterkit.errors import DataError
from clusterkit.models.run import Run

log = logging.getLogger("clusterkit")

Report = Callable[[str, int, int], None]

# Cards drawn in one forward pass.
_BATCH = 16


def audit(
    run: Run | Path | str,
    *,
    assignments: Path | str | None = None,
    out: Path | str | None = None,
    config: Config | None = None,
    progress: Report | None = None,
) -> Path:
    """Write a page that shows why each image got its label.

    Parameters
    ----------
    run : Run or path
    assignments : path or None
        The CSV; None: the run's own.
    out : path or None
        Folder of the page; None: ``<run>/audit``.
    config : Config or None
        `config.audit`: how many images get CAMs, and by which method.
    progress : callable or None
        Called with (stage, done, total).

    Returns
    -------
    Path of ``index.html``; ``metrics.json`` and the pictures lie beside it.

    Raises
    ------
    ClusterkitError
        The run or the CSV cannot be used.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    config = config or run.config
    csv = Path(assignments) if assignments else run.path / "assignments.csv"
    out = Path(out) if out else run.path / "audit"
    table = read_assignments(csv)
    record = _read_record(csv)
    inputs = csv.parent / record.get("input_root", ".")
    out.mkdir(parents=True, exist_ok=True)
    chosen = choose_rows(table, config.audit.limit, run.info["seed"])
    cards = _draw_cards(run, config, table.iloc[chosen], inputs, out, progress)
    calibration = Calibration.from_dict(run.calibration)
    metrics = _metrics(run, calibration)
    plots = _plots(run, calibration, metrics, table, record, out)
    _write_json(out / "metrics.json", metrics)
    missing = sum(card.thumb is None and card.status != "failed" for card in cards)
    if missing:
        log.warning("%d pictures were not found under %s: was the data moved?",
                    missing, inputs)  # fmt: skip
    return render_page(out, cards, _page_summary(run, record, table, cards, metrics, plots))


def choose_rows(table: pd.DataFrame, limit: int, seed: int) -> np.ndarray:
    """Choose at most `limit` rows: every status, the least confident first, a part by chance.

    Returns
    -------
    (n,) int, sorted positions in `table`.
    """
    if len(table) <= limit:
        return np.arange(len(table))
    rng = np.random.default_rng(seed)
    by_status = [
        table.index[table["status"] == s][np.argsort(table["confidence"][table["status"] == s])]
        for s in STATUSES
    ]
    queues = [list(rows) for rows in by_status if len(rows)]
    chosen: list[int] = []
    # Three quarters by turns over the statuses, least confident first; the rest by chance.
    while len(chosen) < max(1, limit * 3 // 4) and any(queues):
        for queue in queues:
            if queue and len(chosen) < limit:
                chosen.append(queue.pop(0))
    rest = np.setdiff1d(np.arange(len(table)), chosen)
    by_chance = rng.choice(rest, limit - len(chosen), replace=False)
    return np.sort(np.r_[np.array(chosen, dtype=int), by_chance])


def _draw_cards(
    run: Run, config: Config, rows: pd.DataFrame, inputs: Path, out: Path, progress: Report | None
) -> list[Card]:
    engine, cards = Engine(run, config), []
    for start in range(0, len(rows), _BATCH):
        part = list(rows.iloc[start : start + _BATCH].itertuples(index=False))
        pictures = [{} for _ in part]
        queries = [_open(lambda r=r: _query(run, inputs, r), r.image)
                   if r.status != "failed" else None for r in part]  # fmt: skip
        matches = [_open(lambda r=r: run.open_image(r.nearest_image), r.nearest_image)
                   if r.nearest_image else None for r in part]  # fmt: skip
        _draw_batch(engine, config.audit.method, part, queries, matches, pictures, out)
        cards += [_card(row, found) for row, found in zip(part, pictures, strict=True)]
        if progress:
            progress("audit", len(cards), len(rows))
    return cards


def _draw_batch(engine, method: str, rows, queries, matches, pictures, out: Path) -> None:
    run, size = engine.run, engine.run.info["size"]
    resize, offsets = run.config.image.resize, field_offsets(run.info["backbone"])
    seen = [None if q is None else to_array(q, size, resize) for q in queries]
    seen_match = [None if m is None else to_array(m, size, resize) for m in matches]
    known = [i for i, s in enumerate(seen) if s is not None]
    both = [i for i in known if seen_match[i] is not None]
    for kind, images, arrays in (("thumb", queries, seen), ("nearest_thumb", matches, seen_match)):
        for i, image in enumerate(images):
            if image is not None:
                pictures[i][kind] = _save(thumbnail(image, arrays[i], resize), rows[i], kind, out)
    if known:
        indices = np.array([_class_index(run, rows[i].predicted_label) for i in known])
        heats = class_cams(
            engine.networks.encoder,
            engine.networks.classifier_head.cpu(),
            np.stack([seen[i] for i in known]),
            indices,
            engine.device,
            method,
            offsets,
        )
        for i, heat in zip(known, heats, strict=True):
            base = thumbnail(queries[i], seen[i], resize)
            name = "classifier_cam"
            pictures[i][name] = _save(overlay(base, heat), rows[i], name, out)
    if both:
        encoder = engine.networks.siamese_encoder or engine.networks.encoder
        heats = pair_cams(
            encoder,
            engine.gallery.siamese,
            np.stack([seen[i] for i in both]),
            np.stack([seen_match[i] for i in both]),
            engine.device,
            method,
            offsets,
        )
        for i, first, second in zip(both, *heats, strict=True):
            base = thumbnail(queries[i], seen[i], resize)
            pictures[i]["cam"] = _save(overlay(base, first), rows[i], "cam", out)
            base = thumbnail(matches[i], seen_match[i], resize)
            pictures[i]["nearest_cam"] = _save(overlay(base, second), rows[i], "nearest_cam", out)


def _class_index(run: Run, label: str) -> int:
    return run.classes.index(label) if label in run.classes else 0


def _query(run: Run, inputs: Path, row) -> Image.Image:
    path = inside_root(inputs, row.image, "audit")
    return load_image(path, how=run.config.image, frame=frame_of(row.image_id))


def _open(read: Callable[[], Image.Image], image: str) -> Image.Image | None:
    """Open a picture for a card; one that is gone or unreadable leaves its place empty."""
    try:
        return read()
    except DataError as error:
        log.info("no picture of %s: %s", image, error)
        return None


def _save(picture: Image.Image, row, kind: str, out: Path) -> str:
    # The id names the bytes; the image's own name could be anything, even a path.
    folder = row.image_id.replace("#", "-") or "unknown"
    relative = f"thumbs/{folder}-{kind.replace('_', '-')}.jpg"
    save_picture(picture, out / relative)
    return relative


def _card(row, pictures: dict[str, str]) -> Card:
    def number(value: float) -> float | None:
        return None if pd.isna(value) else float(value)

    kinds = ("thumb", "cam", "classifier_cam", "nearest_thumb", "nearest_cam")
    return Card(
        image=row.image,
        image_id=row.image_id,
        status=row.status,
        predicted_label=row.predicted_label,
        confidence=number(row.confidence),
        label_set=row.label_set.split("|") if row.label_set else [],
        classifier_label=row.classifier_label,
        classifier_probability=number(row.classifier_probability),
        similarity=number(row.similarity),
        gate=row.gate.split("|") if row.gate else [],
        nearest_image=row.nearest_image,
        nearest_label=row.nearest_label,
        nearest_similarity=number(row.nearest_similarity),
        novelty_p=number(row.novelty_p),
        cluster=None if pd.isna(row.cluster) else int(row.cluster),
        group=row.group,
        duplicate_of=row.duplicate_of,
        reason=row.reason,
        **{kind: pictures.get(kind) for kind in kinds},
    )


def _metrics(run: Run, calibration: Calibration) -> dict:
    k = len(run.classes)
    confusion = np.zeros((k, k), dtype=int)
    np.add.at(confusion, (calibration.labels, calibration.predicted), 1)
    order = np.argsort(-calibration.confidence, kind="stable")
    wrong = np.cumsum(~calibration.correct[order])
    n = len(order)
    return {
        **calibration.metrics(run.config.assign.confidence),
        "classes": run.classes,
        "confusion": confusion.tolist(),
        "risk_coverage": {
            "confidence": calibration.confidence[order].round(6).tolist(),
            "coverage": ((np.arange(n) + 1) / max(1, n)).round(6).tolist(),
            "error": (wrong / np.arange(1, n + 1)).round(6).tolist(),
        },
    }


def _plots(
    run: Run,
    calibration: Calibration,
    metrics: dict,
    table: pd.DataFrame,
    record: dict,
    out: Path,
) -> list[tuple[str, str]]:
    promise = record.get("promise") or {}
    folder = out / "plots"
    folder.mkdir(exist_ok=True)
    confusion_plot(np.array(metrics["confusion"]), run.classes, folder / "confusion.png")
    # The threshold in the picture is one on confidence as this batch's proportions make it.
    shifted = _under_shares(run, calibration, record)
    confidence, correct = shifted.confidence, shifted.correct
    risk_coverage_plot(
        confidence,
        correct,
        folder / "risk-coverage.png",
        threshold=promise.get("threshold"),
        max_error=promise.get("max_error"),
    )
    reliability_plot(confidence, correct, folder / "reliability.png")
    readable = table[table["predicted_label"] != ""]
    counts = pd.crosstab(readable["predicted_label"], readable["status"])
    status_plot(counts, folder / "status.png")
    return [
        ("plots/confusion.png", "Held-out images: true class against predicted class."),
        ("plots/risk-coverage.png",
         "Held-out images: how many labels are wrong if only the most confident are assigned."),
        ("plots/reliability.png", "Held-out images: confidence against how often it was right."),
        ("plots/status.png", "This batch: predicted classes and what became of them."),
    ]  # fmt: skip


def _under_shares(run: Run, calibration: Calibration, record: dict) -> Calibration:
    """Return the held-out record under the class proportions that the assignments were made for."""
    shares = (record.get("class_shares") or {}).get("estimated") or {}
    values = [shares.get(c) for c in run.classes]
    if not all(isinstance(v, float) and 0 <= v <= 1 for v in values):
        return calibration
    return calibration.with_prior(np.array(values))


def _page_summary(
    run: Run, record: dict, table: pd.DataFrame, cards: list[Card], metrics: dict, plots: list
) -> Summary:
    counts = table["status"].value_counts()
    promise = record.get("promise") or {}
    unit = promise.get("unit", "image")
    facts = [
        ("Backbone", f"{run.info['backbone']} ({run.info['weights']} weights)"),
        ("Training", f"{run.info['strategy']}: {run.info['strategy_reason']}"),
        ("Image size", f"{run.info['size']} px"),
        ("Labelled images", f"{run.info['data']['images']:,}"),
        ("Seed", str(run.info["seed"])),
        ("Made", run.info["created"]),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run.info["versions"].items())),
    ]
    held_out = [
        ("Accuracy", f"{metrics['accuracy']:.1%}",
         f"on {metrics['held_out_images']} labelled images that the scoring models never saw"),
        ("Held-out units", str(metrics["held_out_units"]),
         f"independent {unit}s that these images come from"),
        ("Gate recall", f"{metrics['gate_recall']:.1%}",
         "how often the true class was among those compared"),
        ("Label sets", f"{metrics['label_set_coverage']:.1%}",
         f"how often they hold the true class, with {metrics['label_set_size']:.2f} classes on "
         f"average; {run.config.assign.confidence:.0%} is asked for"),
        ("Calibration error", f"{metrics['expected_calibration_error']:.3f}",
         "mean gap between confidence and how often it was right"),
    ]  # fmt: skip
    return Summary(
        title="clusterkit audit",
        run=run.path.name,
        created=run.info["created"],
        counts={s: int(counts.get(s, 0)) for s in STATUSES},
        promise=record.get("promise_text", "There is no record of what was promised."),
        threshold=promise.get("threshold"),
        held_out=held_out,
        plots=plots,
        facts=facts,
        shown=len(cards),
        total=len(table),
        warnings=[],
    )


def _read_record(csv: Path) -> dict:
    path = csv.with_suffix(".json")
    if not path.is_file():
        log.warning("%s is missing: pictures are looked for beside the CSV", path)
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); run assign again") from error
    return record if isinstance(record, dict) else {}


def _write_json(path: Path, values: dict) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
