"""`export`: choose the rows and hand them to one target."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.errors import ConfigError, nearest_name
from clusterkit.exporting.coco import write_coco
from clusterkit.exporting.folders import write_folders
from clusterkit.exporting.label_studio_tasks import write_label_studio
from clusterkit.exporting.output_folder import new_folder
from clusterkit.exporting.selection import WITH_LABEL, ExportBatch, choose_statuses, load_batch
from clusterkit.exporting.typed_tables import TABLES
from clusterkit.exporting.voxel51 import (
    add_dataset,
    check_dataset,
    default_name,
    folder_name,
    load_fiftyone,
)
from clusterkit.exporting.voxel51_samples import LABELLED
from clusterkit.formats.assignment_pair import check_pair
from clusterkit.formats.assignments import STATUSES, read_assignments, read_record
from clusterkit.formats.review_place import ASSIGNMENTS
from clusterkit.formats.run import Run
from clusterkit.progress import Progress, with_bar

# Statuses that each target gets by default: what a person is to decide, what can be looked at,
# and what is labelled.
TARGETS = {
    "label-studio": ("review", "novel"),
    "fiftyone": ("assigned", "reviewed", "review", "novel", "duplicate"),
    "folders": WITH_LABEL,
    "coco": WITH_LABEL,
    **dict.fromkeys(TABLES, STATUSES),
}

# Options of single targets, by name.
Options = dict[str, str | Path | None]


@dataclass(frozen=True)
class ExportResult:
    """Summary of one export.

    Attributes
    ----------
    to : str
        The target.
    path : Path
        The folder that was written.
    statuses : tuple of str
        The chosen ones, or this target's default.
    counts : dict of str to int
        Exported images, by status; of fiftyone also ``labelled``, the run's labelled images.
    left_out : dict of str to int
        Images of these statuses that were not exported, by reason.
    next : list of str
        Steps that come next, for a person.
    """

    to: str
    path: Path
    statuses: tuple[str, ...]
    counts: dict[str, int]
    left_out: dict[str, int]
    next: list[str]


@with_bar
def export(
    run: Run | Path | str,
    to: str,
    out: Path | str | None = None,
    *,
    assignments: Path | str | None = None,
    status: str | Sequence[str] | None = None,
    copy: bool = False,
    progress: Progress | None = None,
    **options: str | Path | None,
) -> ExportResult:
    """Export assignments to another program, or as a table alone, with types (the last three).

    Parameters
    ----------
    run : Run or path
    to : {"label-studio", "fiftyone", "folders", "coco", "xlsx", "parquet", "arrow"}
    out : path or None
        None: ``<run>/export/<to>``, for fiftyone with the dataset's name. A folder that an earlier
        export wrote is replaced, but for pictures of another dataset.
    assignments : path or None
        The CSV; None: the run's own.
    status : str or sequence of str or None
        Of the rows, e.g. ``"review,novel"``, or ``"all"``; None: see `TARGETS`.
    copy : bool
        Write the images too, always as PNG: no header, and so no patient's name, goes with them.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **options
        Of label-studio: ``root`` (folder that URLs are relative to) and ``url_prefix``. Of
        fiftyone: ``name`` (default ``clusterkit-<run>``); this run's dataset is renewed in place.

    Returns
    -------
    ExportResult

    Raises
    ------
    ClusterkitError
        One line: the run or a row of the CSV cannot be used, the images are gone, `out` holds
        something else, or the target's program is not there. Nothing is written then.

    Examples
    --------
    >>> export("runs/a", to="folders")  # doctest: +SKIP
    """
    _check_target(to, copy, options)
    statuses = choose_statuses(status, TARGETS[to])
    run = run if isinstance(run, Run) else Run.load(run)
    assignments, about = Path(assignments) if assignments else None, _about(to, run, statuses)
    if to == "fiftyone":
        about["name"] = options["name"] = _dataset_name(run, assignments, options)
    out = Path(out) if out else _default_folder(run, to, options)
    if to in TABLES:
        return _export_table(to, run, assignments, out, statuses)
    batch = load_batch(run, assignments, statuses, progress)
    with new_folder(out, about) as folder:
        lines = _write(to, batch, folder, out, copy, options)
    found = batch.rows.statuses() | batch.added
    return ExportResult(to, out, statuses, _count(found), dict(batch.left_out), lines)


def _default_folder(run: Run, to: str, options: Options) -> Path:
    folder = run.own("export", to)
    # Two datasets in one folder would lose each other's pictures.
    return folder / folder_name(str(options["name"])) if to == "fiftyone" else folder


def _dataset_name(run: Run, assignments: Path | None, options: Options) -> str:
    """Return the name of the dataset, checked before images are read."""
    name = str(options.get("name") or default_name(run, assignments))
    check_dataset(run, name)
    return name


def _export_table(
    to: str, run: Run, assignments: Path | None, out: Path, statuses: tuple[str, ...]
) -> ExportResult:
    """Write the rows alone: no image is opened for it."""
    load, write = TABLES[to]
    load()
    csv = assignments or run.own(ASSIGNMENTS)
    table = read_assignments(csv)
    check_pair(csv, table, read_record(csv))
    rows = table[table["status"].isin(statuses)].reset_index(drop=True)
    with new_folder(out, _about(to, run, statuses)) as folder:
        lines = write(rows, folder)
    return ExportResult(to, out, statuses, _count(Counter(rows["status"])), {}, lines)


def _about(to: str, run: Run, statuses: tuple[str, ...]) -> dict[str, Any]:
    return {"to": to, "run": run.info.id, "status": list(statuses)}


def _count(counts: Counter[str]) -> dict[str, int]:
    return {status: counts[status] for status in (*STATUSES, LABELLED) if counts[status]}


def _write(
    to: str, batch: ExportBatch, folder: Path, out: Path, copy: bool, options: Options
) -> list[str]:
    """Write a target's files into `folder`, which will be called `out`; returns next steps."""
    if to == "label-studio":
        root, prefix = options.get("root"), options.get("url_prefix")
        return write_label_studio(
            batch, folder, out, copy, Path(root) if root else None,
            None if prefix is None else str(prefix),
        )  # fmt: skip
    if to == "fiftyone":
        return add_dataset(batch, folder, out, copy, str(options["name"]))
    if to == "folders":
        return write_folders(batch, folder, out, copy)
    return write_coco(batch, folder, copy)


def _check_target(to: str, copy: bool, options: Options) -> None:
    if to not in TARGETS:
        raise ConfigError(f"cannot export to '{to}'{nearest_name(str(to), TARGETS)}; use "
                          f"{', '.join(TARGETS)}")  # fmt: skip
    if copy and to in TABLES:
        raise ConfigError(f"--copy is for targets with images, not for {to}; leave it out")
    takes = {"label-studio": ("root", "url_prefix"), "fiftyone": ("name",)}
    for name, value in options.items():
        owner = next((target for target, names in takes.items() if name in names), None)
        if owner is None:
            raise ConfigError(f"export has no option '{name}'")
        if value is not None and owner != to:
            raise ConfigError(f"--{name.replace('_', '-')} is for {owner} only, not for {to}")
    if to == "fiftyone":
        # Before thousands of rows are read.
        load_fiftyone()
