"""`audit`: choose the rows to show, draw their CAMs, and write the page."""

import hashlib
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.auditing.batch import AuditBatch, choose_rows, read_batch, typical_rows
from clusterkit.auditing.card_images import ImageFiles
from clusterkit.auditing.cards import EXPLAINED, CardDrawer
from clusterkit.auditing.checks import CamChecks, check_cams, places_of
from clusterkit.auditing.last_audit import read_metrics, seen_from
from clusterkit.auditing.originals import Originals
from clusterkit.auditing.page import render_page
from clusterkit.auditing.plotting.overview import draw_plots, remove_other_plots
from clusterkit.auditing.summary import measure, summarise
from clusterkit.auditing.tiles import Tiles
from clusterkit.auditing.token_part import about_token
from clusterkit.config import Config, takes_settings, with_settings
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.written_names import folder_of_record
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.assignments import read_rows
from clusterkit.formats.atomic import final_name, is_abandoned, write_json
from clusterkit.formats.run import Run
from clusterkit.inference.given import Files, open_given, why_no_cams
from clusterkit.inference.predictor import Predictor
from clusterkit.output import check_writable, writing
from clusterkit.progress import Progress, silent, with_bar

log = logging.getLogger("clusterkit")

# Cards whose CAMs may be checked, all of them where places are given; else so many of them.
_SAMPLED_CARDS, CHECKED_CARDS = 48, 24

# What is read of all rows: a million times the reason alone takes 100 MB.
_OF_ALL = ("image", "image_id", "status", "predicted_label", "confidence", "nearest_image",
           "cluster", "group", "order")  # fmt: skip

# What audits have put under thumbs/: a folder each, and before that, pictures.
_FOLDER = re.compile(r"[0-9a-f]{16}")
_PICTURE = re.compile(
    r"[0-9A-Za-z-]{1,60}-(thumb|tile|full|cam|classifier-cam|nearest-thumb|nearest-cam|own-cam-\d|cam-\d)"
    r"\.(jpg|png)(\.partial)?"
)


@takes_settings
@with_bar
@torch.random.fork_rng(devices=[])  # the host's random numbers are its own
def audit(
    run: Run | Path | str,
    *,
    assignments: Path | str | None = None,
    out: Path | str | None = None,
    config: Config | None = None,
    places: pd.DataFrame | None = None,
    keep: bool = False,
    features: Files = (),
    progress: Progress | None = None,
    **settings: Any,
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
    places : DataFrame or None
        Known places of what images show: columns image, x, y, radius, width, height, in pixels.
        The CAMs are then checked against them too.
    keep : bool
        Leave a page alone that shows these assignments already.
    features : path or sequence of path
        Of a run on given features, those that `assign` read: without them cards show the closest
        labelled image alone, and the map no images of the batch.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **settings : options of the command, e.g. ``limit=500``

    Returns
    -------
    Path of ``index.html``; ``metrics.json`` and the pictures lie beside it.

    Raises
    ------
    ClusterkitError
        The run or the CSV cannot be used, or `out` holds other files.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    config = with_settings(run.config_with(config), settings, "audit")
    csv = Path(assignments) if assignments else run.own("assignments.csv")
    batch = read_batch(run, csv, _OF_ALL)
    out = Path(out) if out else run.own("audit")
    if keep and _is_current(out, _key(batch, config)):
        return out / "index.html"
    table = _given(run, batch, features)
    chosen = choose_rows(batch.table, config.audit.limit, run.info.seed, typical_rows(batch))
    rows = _whole_rows(batch, chosen)
    check_writable(out, "--out DIR", folder=True)
    _check_free(out, run, batch.csv, _key(batch, config))
    with writing(out, "--out DIR"):
        out.mkdir(parents=True, exist_ok=True)
        return _write(run, config, batch, rows, out, places, table, progress or silent)


def _write(
    run: Run,
    config: Config,
    batch: AuditBatch,
    rows: pd.DataFrame,
    out: Path,
    places: pd.DataFrame | None,
    table: FeatureTable | None,
    progress: Progress,
) -> Path:
    chosen = rows.index.to_numpy()
    # An earlier audit's page shows its own pictures until this one is written.
    key = _key(batch, config)
    pictures = f"thumbs/{key}"
    predictor, lack = Predictor(run, config), why_no_cams(run)
    originals = Originals(config.audit.originals, config.audit.originals_mb)
    drawer = CardDrawer(
        predictor, config.audit.method, batch.inputs, out, pictures, table, originals
    )
    sampled = _sample(batch.table, chosen, run.info.seed)
    cards = list(drawer.draw(rows, chosen, progress, sampled))
    tiles = Tiles(config.audit.tiles, run.info.seed)
    tiled = tiles.draw(batch, chosen, drawer.files, progress)
    checks = _check(drawer, run, places)
    notes = [*filter(None, [lack]), *batch.record.remarks, *batch.notes]
    notes = [
        *filter(None, [checks.headline()]),
        *notes,
        *_lost(drawer.files, batch),
        *originals.notes(),
        *tiles.notes(),
    ]
    notes += filter(None, [about_token(predictor.networks.encoder, checks.token)])
    calibration = drawer.predictor.calibration
    cams = checks.to_dict() | {"method": config.audit.method}
    metrics = measure(run, calibration) | {"cams": cams, "batch": batch.key}
    plots = draw_plots(run, calibration, batch, out, drawer.features)
    summary = summarise(run, batch, chosen, metrics, plots, checks, notes, tiled)
    where, how = seen_from(out, batch.csv), run.config.image.resize
    certificate = batch.certificate_page
    page = render_page(out, cards, replace(
        summary, assignments=where, resize=how,
        certificate_page="" if certificate is None else seen_from(out, certificate),
    ))  # fmt: skip
    # A page without its pictures is drawn anew as soon as they may be back.
    whole = not (drawer.files.missing or drawer.files.changed or drawer.files.unmatched)
    write_json(out / "metrics.json", metrics | {
        "key": key if whole else "", "assignments": where})  # fmt: skip
    _remove_others(out / pictures)
    remove_other_plots(out, plots)
    return page


def _whole_rows(batch: AuditBatch, chosen: np.ndarray) -> pd.DataFrame:
    """Read all that is known of the rows that have a card."""
    rows, known = read_rows(batch.csv, chosen), batch.table["image_id"].iloc[chosen]
    if rows["image_id"].tolist() != known.tolist():
        raise DataError(f"{batch.csv} was changed while it was read; run audit again")
    return rows


def _given(run: Run, batch: AuditBatch, features: Files) -> FeatureTable | None:
    """Read the features that `assign` read; None: the run needs none, or none are given."""
    table = open_given(run, features) if features else None
    record = batch.record.features
    if table is not None and record is not None:
        digests = {digest for _, digest in table.files}
        missing = [file.name for file in record.files if file.sha256 not in digests]
        if missing:
            raise DataError(f"{table.name} is not what {batch.csv} was made from: assign read "
                            f"{missing[0]}, which had other bytes; give that")  # fmt: skip
    return table


def _sample(table: pd.DataFrame, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Choose the cards whose CAMs are checked."""
    explained = table["status"].isin(EXPLAINED).to_numpy()[chosen]
    return np.random.default_rng(seed).permutation(chosen[explained])[:_SAMPLED_CARDS]


def _check(drawer: CardDrawer, run: Run, places: pd.DataFrame | None) -> CamChecks:
    lack = why_no_cams(run)
    if lack:
        return CamChecks(notes=[lack])
    pairs, size = drawer.pairs, run.info.size
    blank = np.zeros((0, size, size, 3), dtype=np.uint8)
    here = there = None
    if places is not None:
        resize = run.config.image.resize
        here = places_of(places, [p.image for p in pairs], size, resize)
        there = places_of(places, [p.labelled for p in pairs], size, resize)
    checks = check_cams(
        drawer.predictor,
        np.stack([p.query for p in pairs]) if pairs else blank,
        np.stack([p.exemplar for p in pairs]) if pairs else blank,
        np.array([p.label for p in pairs], dtype=int),
        places=here,
        exemplar_places=there,
        n=CHECKED_CARDS,
        seed=run.info.seed,
        explainer=drawer.explainer,
        status=[p.status for p in pairs],
    )
    return replace(checks, hottest=drawer.hottest.measured())


def _key(batch: AuditBatch, config: Config) -> str:
    """Name what decides the pictures: rows, run, method and version."""
    how = config.audit
    # A certificate may have a new version and the same rows.
    certificate = "" if batch.certificate is None else str(batch.certificate.to_dict())
    text = (f"{batch.key} {how.method} {how.limit} {how.originals} {how.originals_mb} "
            f"{how.tiles} {clusterkit.__version__} {certificate}".rstrip())  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_free(out: Path, run: Run, csv: Path, key: str) -> None:
    """Refuse to write among files that are no audit's, or over the page of other assignments."""
    for folder in (out / "thumbs", out / "thumbs" / key, out / "plots"):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise ClusterkitError(f"{folder} is no plain folder; give another --out")
    shows = read_metrics(out).get("assignments", ".")
    if isinstance(shows, str) and shows not in (".", seen_from(out, csv)):
        earlier = folder_of_record(shows, out.absolute())
        if os.path.isfile(earlier):
            raise ClusterkitError(f"{out} shows the assignments {earlier}; give another --out")
    if not out.is_dir() or out.resolve() == (run.path / "audit").resolve():
        return
    # What a killed audit left half written is no file of the user's.
    found = any(final_name(path.name) == path.name for path in out.iterdir())
    if found and "risk_coverage" not in read_metrics(out):
        raise ClusterkitError(f"{out} holds files and no earlier audit; give another --out")


def _is_current(out: Path, key: str) -> bool:
    return read_metrics(out).get("key") == key and (out / "index.html").is_file()


def _lost(files: ImageFiles, batch: AuditBatch) -> list[str]:
    """Return a note for each kind of picture that could not be shown, and log it."""
    notes = []
    given = files.run.info.features is not None
    if files.missing and given:
        notes.append(f"{files.missing:,} images are not there, or cannot be read: their rows are "
                     "here without pictures.")  # fmt: skip
    elif files.missing:
        log.warning("%d images were not found under %s, or cannot be read: was the data moved?",
                    files.missing, batch.root)  # fmt: skip
        notes.append(
            f"{files.missing:,} images were not found where assign read them, or cannot be read "
            "any more: their rows are here without pictures."
        )
    if files.changed:
        log.warning("%d images under %s have other bytes than when they were assigned; run assign "
                    "again", files.changed, batch.root)  # fmt: skip
        notes.append(
            f"{files.changed:,} images have changed since they were assigned: their rows are here "
            "without pictures. Assign should be run again."
        )
    if files.unmatched and given:
        notes.append(f"{files.unmatched:,} labelled images are not there, or cannot be read: "
                     "comparisons with them are here without pictures.")  # fmt: skip
    elif files.unmatched:
        log.warning("%d labelled images are not under %s any more, e.g. for the comparison",
                    files.unmatched, files.run.data_root)  # fmt: skip
        notes.append(
            f"{files.unmatched:,} labelled images are not where fit read them: comparisons with "
            "them are here without pictures, and the other overlays may be measured otherwise."
        )
    return notes


def _remove_others(pictures: Path) -> None:
    """Remove what earlier audits drew, and nothing else: the page does not show it any more."""
    for old in pictures.parent.glob("*"):
        if old.is_symlink():
            continue
        if old == pictures:
            _remove_pictures(old, is_abandoned)
            continue
        if old.is_dir() and _FOLDER.fullmatch(old.name):
            _remove_pictures(old)
            # Somebody's own file in it keeps the folder.
            with suppress(OSError):
                old.rmdir()
        elif old.is_file() and _PICTURE.fullmatch(old.name):
            old.unlink(missing_ok=True)


def _remove_pictures(folder: Path, which: Callable[[Path], bool] = Path.is_file) -> None:
    for path in folder.iterdir():
        if _PICTURE.fullmatch(final_name(path.name)) and which(path):
            path.unlink(missing_ok=True)
