"""Choosing the rows of an assignments.csv to export: checked, and their images found."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.auditing.batch import AuditBatch, read_batch
from clusterkit.data.files import ImageFolder
from clusterkit.data.guarded_path import RefusedPathError
from clusterkit.data.identity import read_identified
from clusterkit.data.remote_places import local_place
from clusterkit.errors import ConfigError, DataError, ImageError, nearest_name, shown
from clusterkit.exporting.export_rows import ExportRow, ExportRows, plain_path
from clusterkit.exporting.output_folder import Names, write_png
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.review_place import ASSIGNMENTS
from clusterkit.formats.run import Run
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")


MISSING, CHANGED = "image missing", "image changed since assign"
UNREADABLE = "image unreadable"

# Where pictures go that are written for a target.
IMAGES = "images"

# Rows whose predicted label is handed on as an answer; a novel image's nearest class is none.
ANSWERED = ("assigned", "reviewed", "review", "duplicate")
# Statuses of an image that has a label, and none to be asked for.
WITH_LABEL = ("assigned", "reviewed", "duplicate")


@dataclass
class ExportBatch:
    """Rows to export.

    Attributes
    ----------
    run : Run
    rows : ExportRows
        The chosen rows. Once a target was written: those that it got.
    root : Path
        The folder that `image` is relative to.
    statuses : tuple of str
        The chosen ones.
    csv : Path
        The assignments.
    table : DataFrame
        All their rows.
    left_out : Counter
        Rows that were chosen and are not exported, by reason.
    progress : callable or None
        Called with (stage, done, total).
    added : Counter
        Images beside the rows that a target got, by kind.
    """

    run: Run
    rows: ExportRows
    root: Path
    statuses: tuple[str, ...]
    csv: Path
    table: pd.DataFrame
    left_out: Counter[str] = field(default_factory=Counter)
    progress: Progress | None = None
    added: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> list[str]:
        """The run's classes, then what else a person answered in a check."""
        return list(dict.fromkeys([*self.run.classes, *self.rows.labels("reviewed")]))

    def report(self, done: int) -> None:
        """Report that so many rows are done, every hundred rows."""
        if self.progress and (done % 100 == 0 or done == len(self.rows)):
            self.progress("export", done, len(self.rows))

    def write_picture(self, row: ExportRow, folder: Path, names: Names) -> str | None:
        """Write a row's image as PNG; returns its path below `folder`, None: it is unreadable."""
        return self.write_file(row.path, row.frame, row.image_id, folder, names)

    def write_file(
        self, path: str, frame: int, image_id: str, folder: Path, names: Names
    ) -> str | None:
        """As `write_picture`, of any image."""
        file = f"{IMAGES}/{names.choose(image_id.replace('#', '-') + '.png')}"
        try:
            write_png(path, frame, self.run.config.image, folder / file)
        except ImageError:
            self.left_out[UNREADABLE] += 1
            return None
        return file


def choose_statuses(
    wanted: str | Sequence[str] | None, default: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the statuses to export, in the order of `STATUSES`.

    Parameters
    ----------
    wanted : str, sequence of str or None
        Names, or one text with commas between them, or ``"all"``; None: `default`.
    default : tuple of str

    Raises
    ------
    ConfigError
        One of the names is no status.
    """
    if wanted is None:
        return default
    names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    names = [name.strip().lower() for name in names]
    if names == ["all"]:
        return STATUSES
    for name in names:
        if name not in STATUSES:
            near = nearest_name(name[:60], STATUSES)
            raise ConfigError(f"status '{shown(name)}' is not allowed{near}; use all, or some of "
                              f"{','.join(STATUSES)}")  # fmt: skip
    return tuple(s for s in STATUSES if s in names)


def load_batch(
    run: Run, assignments: Path | None, statuses: tuple[str, ...], progress: Progress | None = None
) -> ExportBatch:
    """Read assignments, check them against the run, and find their images.

    Parameters
    ----------
    run : Run
    assignments : Path or None
        The CSV; None: the run's own.
    statuses : tuple of str
        Statuses of the rows to export.
    progress : callable or None
        Called with ("export", done, total).

    Raises
    ------
    DataError
        A row cannot be used (somebody edited the file, or it is another run's), no row has one of
        the statuses, or no image is where the assignments say.
    """
    csv = assignments or run.own(ASSIGNMENTS)
    assigned = read_batch(run, csv)
    root = local_place(assigned.root, "images are exported")
    _check(assigned.table, run, csv)
    table = assigned.table
    chosen = np.flatnonzero(table["status"].isin(statuses).to_numpy(dtype=bool))
    if not len(chosen):
        have = table["status"].value_counts()
        raise DataError(
            f"{csv} has no row with status {' or '.join(statuses)}; it has "
            f"{', '.join(f'{n} {s}' for s, n in have.items()) or 'no rows'}; see --status"
        )
    states, others = _states(assigned, chosen, csv)
    if "" not in states:
        raise DataError(
            f"none of the {len(chosen)} images of {csv} is under {root}, e.g. "
            f"'{shown(table['image'].iloc[chosen[0]])}': put the data back where it was, or assign "
            "again"
        )
    missing, changed = states.count(MISSING), states.count(CHANGED)

    def first(state: str) -> str:
        return shown(table["image"].iloc[chosen[states.index(state)]])

    if changed:
        log.warning("%d of %d images have changed since they were assigned, e.g. '%s', and are "
                    "left out; run assign again", changed, len(chosen), first(CHANGED)
                    )  # fmt: skip
    if missing:
        log.warning("%d of %d images are not under %s any more, e.g. '%s', and are left out",
                    missing, len(chosen), root, first(MISSING))  # fmt: skip
    left_out = Counter({k: n for k, n in ((MISSING, missing), (CHANGED, changed)) if n})
    there = np.array([not state for state in states])
    rows = ExportRows(table, chosen[there], str(root), others)
    return ExportBatch(run, rows, root, statuses, csv, table, left_out, progress)


def _states(
    assigned: AuditBatch, chosen: np.ndarray, csv: Path
) -> tuple[list[str], dict[int, str]]:
    """Return the state of each chosen row's image, and the paths that `ExportRows` is told."""
    root, states, others = str(assigned.root), [], {}
    columns = (assigned.table[name].iloc[chosen] for name in ("image", "status", "image_id"))
    for position, image, status, identity in zip(chosen.tolist(), *columns, strict=True):
        path = _find(assigned.inputs, image, status, csv)
        states.append(state_of(path, identity))
        if path is not None and str(path) != plain_path(root, image):
            others[position] = str(path)
    return states, others


def _find(inputs: ImageFolder, image: str, status: str, csv: Path) -> Path | None:
    """Return where an image is; None: its row names it in a way that `assign` did not follow."""
    try:
        return Path(inputs.find(image, str(csv)))
    except RefusedPathError:
        if status != "failed":
            raise
        return None


def state_of(path: Path | None, image_id: str) -> str:
    """Return "" where a file is the one that was assigned, else `MISSING` or `CHANGED`."""
    if path is None or not path.is_file():
        return MISSING
    # A label must not be handed on with another picture.
    try:
        _, identity = read_identified(path, image_id.partition("#")[2] or None)
    except DataError:
        return MISSING
    return "" if identity == image_id else CHANGED


def _check(table: pd.DataFrame, run: Run, csv: Path) -> None:
    """Raise DataError where a row has no label of the run, no image_id, or is there twice."""
    classes = set(run.classes)
    columns = ("image", "image_id", "status", "predicted_label")
    cells = zip(*(table[column] for column in columns), strict=True)
    for number, (image, image_id, status, label) in enumerate(cells, 1):
        if status == "failed" or (label in classes and image_id):
            continue
        where = f"{csv}, row {number} ('{shown(image)}')"
        # What a person answered may be a label that the run has not learned.
        if label not in classes and (status != "reviewed" or not label):
            raise DataError(
                f"{where}: label '{shown(label)}' is no class of the run "
                f"{run.path.name}{nearest_name(label[:60], classes)}; name the run that assigned, "
                "and write corrections into a reviews file"
            )
        if not image_id:
            raise DataError(f"{where}: no image_id; run `clusterkit assign` again")
    keys = ["image", "image_id"]
    twice = table[table.duplicated(keys) & (table["status"] != "failed")]
    if len(twice):
        first = twice.iloc[0]
        same = (table[keys] == first[keys]).all(axis=1)
        lines = [str(i + 1) for i in table.index[same]]
        raise DataError(f"{csv}: the image '{shown(first['image'])}' is in rows "
                        f"{' and '.join(lines[:2])}; keep one")  # fmt: skip
