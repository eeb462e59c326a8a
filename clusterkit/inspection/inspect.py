"""`inspect`: read the rows, scan the files, find what is wrong, write it down."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.config import Config, override, takes_settings, with_settings
from clusterkit.data.guarded_path import open_regular
from clusterkit.data.left_out import LeftOut
from clusterkit.data.manifest import default_source, read_rows
from clusterkit.data.manifest_rows import file_numbers
from clusterkit.data.remarks import Remarks
from clusterkit.data.remote_places import local_place
from clusterkit.data.split_folders import SplitFoldersError
from clusterkit.errors import DataError, ImageError
from clusterkit.formats.atomic import write_json, write_text
from clusterkit.formats.csv_text import safe_csv_text, table_text
from clusterkit.formats.result_card import ResultCard, Shown
from clusterkit.inspection.counts import count_all
from clusterkit.inspection.files_left_out import LEFT_OUT, with_left_out
from clusterkit.inspection.findings import COLUMNS, KINDS, Finding, find_all, to_table
from clusterkit.inspection.findings_page import GENERATOR, THUMBS, render_page
from clusterkit.inspection.label_errors import label_suspects
from clusterkit.inspection.same_pictures import find_same
from clusterkit.inspection.scan import scan
from clusterkit.inspection.to_label import (
    TO_LABEL,
    TO_LABEL_COLUMNS,
    ToLabel,
    check_ask,
    images_to_label,
)
from clusterkit.output import check_writable, writing
from clusterkit.progress import Progress, with_bar

log = logging.getLogger("clusterkit")


# What stands near the beginning of each file that inspect writes, and of no other's.
_MARKS = {
    "index.html": GENERATOR,
    "findings.csv": ",".join(COLUMNS),
    "summary.json": '"made_by": "clusterkit inspect"',
    TO_LABEL: ",".join(TO_LABEL_COLUMNS),
}

_CARD_COLUMNS = ("image", "kind", "severity", "label", "detail")


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """Findings about a data set.

    Attributes
    ----------
    findings : DataFrame
        One row per image and finding, with the columns of `findings.csv`.
    summary : dict
        Counts, and findings by kind; plain values.
    page : Path or None
        ``index.html``, if it was written.
    to_label : DataFrame or None
        The images to label first, as of `to_label.csv`; None: it was not asked.
    """

    findings: pd.DataFrame
    summary: dict[str, Any]
    page: Path | None
    to_label: pd.DataFrame | None = None

    def card(self) -> ResultCard:
        """Return what is shown of it in a notebook or at a prompt."""
        kinds = self.summary["findings"]
        facts = {
            kind: f"{found['severity']}, {found['images']} images" for kind, found in kinds.items()
        }
        title = f"Inspection: {self.problems} problems"
        return ResultCard(title, facts, self.findings[list(_CARD_COLUMNS)])

    @property
    def problems(self) -> int:
        """Number of findings that are problems; notes are not counted."""
        wrong = self.findings["severity"] == "problem"
        return int(self.findings["finding"][wrong].nunique())


@takes_settings
@with_bar
def inspect(
    source: Path | str | None = None,
    *,
    config: Config | None = None,
    run: Path | str | None = None,
    out: Path | str | None = None,
    ask: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Inspection:
    """Look for what is wrong with a data set, without training.

    Parameters
    ----------
    source : path or None
        As in `fit`; labels, groups and splits may be missing.
    config : Config or None
        `config.data`: columns, label pattern, root of the images, folder of unlabelled ones.
    run : path or None
        Its held-out predictions tell of label errors; None: the newest under ``runs/``, if it
        held out some of these images.
    out : path or None
        Folder for ``findings.csv``, ``summary.json`` and the page; None: nothing is written.
    ask : int or None
        Name so many images to label first, also in ``to_label.csv``; `config.model` says by which
        encoder. Fewer are named where the others are copies. None: nothing is embedded.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **settings : options of the command, e.g. ``label_column="finding"``

    Returns
    -------
    Inspection

    Raises
    ------
    ClusterkitError
        The data cannot be listed, the run cannot be used, or `out` holds others' files.
    """
    began = time.monotonic()
    config = with_settings(config or Config(), settings, "inspect")
    source = local_place(source or config.data.source or default_source(), "images are inspected")
    out = None if out is None else _check_out(Path(out), source)
    left_out, remarks = LeftOut(), Remarks()
    rows, twice = _read(source, config, progress, left_out, remarks)
    if ask is not None:
        check_ask(rows, ask, out)
    scanned = scan(rows, config, progress)
    same = find_same(scanned, progress)
    suspects, note = label_suspects(scanned.rows, run)
    found = find_all(scanned, same, suspects, twice)
    table = with_left_out(to_table(scanned, found), left_out, len(found))
    first = None if ask is None else images_to_label(scanned, same, ask, source, config, progress)
    counts = count_all(scanned.rows, remarks.sentences) | {"left_out": left_out.to_dict()}
    summary = _summary(counts, table, note, first, time.monotonic() - began)
    named, places = (None, []) if first is None else (first.table, first.places)
    page = None if out is None else _write(out, table, summary, first,
        lambda: render_page(out, scanned, found, summary, config, places))  # fmt: skip
    return Inspection(table, summary, page, named)


def _read(
    source: Path,
    config: Config,
    progress: Progress | None,
    left_out: LeftOut,
    remarks: Remarks,
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read the rows, as `_merge` makes them.

    Where the first folders look like no classes, those in them are the classes. `fit` would stop
    there; whoever inspects wants to know what else is wrong, too.
    """
    # A CSV needs a label column only where one was named.
    data = config.data
    labels = data.label_column != type(data)().label_column or bool(data.label_columns)
    try:
        listed = read_rows(source, config, progress, labels, left_out, remarks)
    except SplitFoldersError as error:
        remarks.add(f"fit stops here: {error}")
        asked = override(config, data__split_folders=True)
        listed = read_rows(source, asked, progress, labels, left_out, remarks)
    rows, twice = _merge(listed)
    rows["refused"] = [remarks.refused.get(path, "") for path in rows["path"]]
    return rows, twice


def _merge(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Keep one row per image, sorted; also return those listed with several values."""
    rows = rows.assign(file=file_numbers(rows))
    rows = rows.sort_values(["image", "file", "frame", "label"], na_position="last", kind="stable")
    key = rows["file"].astype(str) + "#" + rows["frame"].fillna("")
    rows, repeated = rows.drop(columns="file"), rows[key.duplicated(keep=False)]
    rows, own_keys = rows[~key.duplicated()].reset_index(drop=True), key[~key.duplicated()]
    rows["place"] = np.arange(len(rows))
    place = dict(zip(own_keys, rows["place"], strict=True))
    twice = []
    for which, own in repeated.groupby(key[repeated.index]):
        values = {c: sorted(own[c].dropna().unique()) for c in ("label", "group", "split")}
        parts = [f"the {column}s " + " and ".join(f"'{v}'" for v in several)
                for column, several in values.items() if len(several) > 1]  # fmt: skip
        if parts:
            labels = values["label"] if len(values["label"]) > 1 else ()
            twice.append(Finding([place[which]], [f"listed {len(own)} times with " +
                                                "; ".join(parts)], labels=labels))  # fmt: skip
        for column, several in values.items():
            if several:
                # Whichever row came first, a value counts before none.
                rows.at[place[which], column] = several[0]
    return rows, sorted(twice, key=lambda found: found.rows)


def _summary(
    counts: dict[str, Any], table: pd.DataFrame, note: str, first: ToLabel | None, seconds: float
) -> dict[str, Any]:
    asked = {} if first is None else {"to_label": first.summary()}
    return {
        "made_by": "clusterkit inspect",
        **counts,
        "findings": _by_kind(table),
        "label_errors": note,
        **asked,
        "seconds": round(seconds, 1),
    }


def _by_kind(table: pd.DataFrame) -> dict[str, Any]:
    """Return per kind that was found: severity, how many findings and images, an example."""
    kinds = {}
    for kind in (*KINDS, LEFT_OUT):
        own = table[table["kind"] == kind.name]
        if len(own):
            own = own.sort_values("severity", ascending=False, kind="stable")
            first = own.iloc[0]
            kinds[kind.name] = {
                "severity": first["severity"],
                "findings": int(own["finding"].nunique()),
                "images": len(own.drop_duplicates(["image", "image_id"])),
                "example": f"{first['image']}: {first['detail']}",
            }
    return kinds


def _check_out(out: Path, source: Path) -> Path:
    if os.path.isfile(out):
        raise DataError(f"{out} is a file; give a folder as --out")
    check_writable(out, "--out DIR", folder=True)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{out} is inside the data {source}, where the page's pictures would be "
                        "taken for images; give another --out")  # fmt: skip
    for name, mark in _MARKS.items():
        path = out / name
        if os.path.lexists(path) and mark not in _head(path):
            raise DataError(f"{path} is not from inspect and is not replaced; give another --out")
    thumbs = out / THUMBS
    if thumbs.is_symlink() or (thumbs.exists() and not thumbs.is_dir()):
        raise DataError(f"{thumbs} is no plain folder; give another --out")
    return out


def _head(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read(8000).decode(errors="replace")
    except (OSError, ImageError):
        return ""


def _write(
    out: Path,
    table: pd.DataFrame,
    summary: dict[str, Any],
    first: ToLabel | None,
    render: Callable[[], Path],
) -> Path:
    safe = table.copy()
    for column in ("image", "label", "group", "split", "detail"):
        safe[column] = [safe_csv_text(value) for value in safe[column]]
    csv = table_text(safe, float_format="%.6g")
    with writing(out, "--out DIR"):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "findings.csv", csv, mark=True)
        write_json(out / "summary.json", summary)
        if first is not None:
            write_text(out / TO_LABEL, first.csv(), mark=True)
        return render()
