"""`similar`: the labelled images or patients that look most like one."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.commands.options import (
    CommonOptions,
    common,
    features_option,
    print_summary,
    run_option,
)
from clusterkit.config import Config

if TYPE_CHECKING:
    from clusterkit.formats.run import Run
    from clusterkit.retrieval.outcome_summary import OutcomeRow

# Values that none of the nearest has: as many are shown for comparison.
_OTHERS = 5


@click.command()
@click.argument("image", metavar="IMAGE|FOLDER|GROUP")
@run_option
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="How many.")
@click.option(
    "--within",
    type=click.Choice(["gate", "all"]),
    default="gate",
    show_default=True,
    help="Compare an image with the likely classes, or with all; groups always with all.",
)
@click.option(
    "--by",
    type=click.Choice(["image", "group"]),
    default="image",
    show_default=True,
    help="group: rank patients, by all of their images.",
)
@click.option(
    "--outcomes",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="With --by group: count what became of the k patients. A column group, a row a patient, "
    "and a column an outcome; empty: unknown.",
)
@click.option(
    "--cams",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw the query and the closest image with their CAMs; by group, a row a patient.",
)
@features_option
@common
def similar(
    common: CommonOptions,
    image: str,
    run: Path | None,
    k: int,
    within: str,
    by: str,
    outcomes: Path | None,
    cams: Path | None,
    features: tuple[Path, ...],
) -> None:
    """Show the labelled images, or patients, that are most similar to IMAGE.

    With --by group, IMAGE is a patient: an image, a folder of one patient's images, or the name
    of a group of the run, which is then left out. A file or folder of that name comes first.

    How alike two patients are: each image is compared with the other patient's most similar one;
    the mean over the images of either patient, and of both means.
    """
    if by == "group":
        loaded, config = common.load_run(run)
        _similar_groups(loaded, image, k, outcomes, cams, config, features, common.as_json)
        return
    if outcomes is not None:
        raise click.UsageError("--outcomes counts patients; add --by group")
    from clusterkit.retrieval.finder import similar as find_similar

    loaded, config = common.load_run(run)
    found = find_similar(
        loaded, Path(image), k=k, within=within, cams=cams, config=config, features=features
    )
    lines = [
        f"{row['similarity'] * 100:.1f}% similarity  {row['label']}  {row['image']}"
        for row in found.to_dict("records")
    ]
    print_summary({"image": image, "similar": found.to_dict("records")}, common.as_json, lines)


def _similar_groups(
    run: "Run",
    query: str,
    k: int,
    outcomes: Path | None,
    cams: Path | None,
    config: Config,
    features: tuple[Path, ...],
    as_json: bool,
) -> None:
    from clusterkit.retrieval.groups import similar_groups
    from clusterkit.retrieval.outcome_summary import outcome_rows

    found = similar_groups(
        run, query, k=k, outcomes=outcomes, cams=cams, config=config, features=features
    )
    lines = [
        f"{row.similarity * 100:.1f}% similarity  {row.label}  {row.image}  {row.group}  "
        f"({row.n_images} image{'s' * (row.n_images > 1)}"
        f"{', the same patient?' * (row.same_images > 0)})"
        for row in found.rows()
    ]
    summary = {"image": query, "similar": found.table.to_dict("records")}
    if found.outcomes is not None:
        lines += ["", *_outcome_lines(outcome_rows(found.outcomes), config.assign.confidence)]
        # JSON has no NaN.
        counted = found.outcomes.astype(object).where(found.outcomes.notna(), None)
        summary["outcomes"] = counted.to_dict("records")
    print_summary(summary | {"note": found.note}, as_json, [*lines, "", *found.notes])


def _outcome_lines(outcomes: Iterable["OutcomeRow"], level: float) -> list[str]:
    """Turn the rows of `summarise_outcomes` into lines for a terminal."""
    lines = []
    for name, group in groupby(outcomes, key=lambda row: row.outcome):
        rows = list(group)
        few, everyone = rows[0].known, rows[0].all_known
        lines.append(f"{name}: known of {few} of them, and of {everyone} of all compared")
        if not everyone:
            continue
        present = [row for row in rows if row.n > 0 or row.kind == "mean"]
        others = [row for row in rows if row not in present]
        lines += _aligned([_cells(row, level) for row in present + others[:_OTHERS]])
        if len(others) > _OTHERS:
            lines.append(f"  {len(others) - _OTHERS} more values that none of them has")
    return lines


def _cells(row: "OutcomeRow", level: float) -> tuple[str, ...]:
    number = _number if row.kind == "mean" else _percent
    value, among = ("mean", "") if row.kind == "mean" else (row.value, f"{row.n}")
    if not row.known:
        return value, "", "unknown", "", f"all: {number(row.all_estimate)}"
    between = f"({level:.0%} interval {number(row.low)} to {number(row.high)})"
    if not row.interval:
        between = "(no interval: one patient)" if row.known < 2 else "(no interval: all alike)"
    return value, among, number(row.estimate), between, f"all: {number(row.all_estimate)}"


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        for row in table
    ]
    return [("  " + "  ".join(row)).rstrip() for row in padded]


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _number(value: float) -> str:
    return f"{value:.4g}"
