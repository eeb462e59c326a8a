"""`inspect`: look for what is wrong with a data set before anything learns from it."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from clusterkit.commands.data_options import data_options, data_settings
from clusterkit.commands.options import (
    CommonOptions,
    PlacePath,
    common,
    encoder_options,
    left_out_lines,
    print_summary,
)
from clusterkit.config import override
from clusterkit.errors import ClusterkitError

if TYPE_CHECKING:
    from clusterkit.inspection.inspect import Inspection

# Classes and sizes that the summary names.
_NAMED = 6


@click.command()
@click.argument("data", required=False, type=PlacePath())
@data_options
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Whose held-out predictions tell of label errors; default the newest that fits.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write index.html, findings.csv and summary.json there.",
)
@click.option(
    "--ask",
    type=int,
    metavar="N",
    help="Name the N images to label first; with --out also in to_label.csv.",
)
@encoder_options
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a problem; notes are none.")
@common
def inspect(
    common: CommonOptions,
    data: Path | str | None,
    run: Path | None,
    out: Path | None,
    ask: int | None,
    backbone: str | None,
    weights: str | None,
    size: int | None,
    strict: bool,
    **options: Any,
) -> None:
    """Look for what is wrong with a data set, without training.

    DATA is what fit takes; labels may be missing. Found are unreadable, constant, nearly black and
    oddly sized images, exact and near duplicates, conflicting labels, leakage between splits and
    groups, a suspicion of burned-in text and, once there is a run, of wrong labels. --ask names
    the images to label first, where there are few labels or none; the encoder is for that alone.
    """
    from clusterkit.inspection.inspect import inspect as inspect_data

    config = override(common.config, **data_settings(options), model__backbone=backbone,
                      model__weights=weights, image__size=size)  # fmt: skip
    result = inspect_data(data, config=config, run=run, out=out, ask=ask, progress=common.bar)
    common.bar.close()
    records = result.findings.astype(object).where(result.findings.notna(), None)
    summary = result.summary | {"page": str(result.page) if result.page else None}
    if common.as_json:
        summary["found"] = records.to_dict("records")
        if result.to_label is not None:
            summary["to_label"] |= {"rows": result.to_label.to_dict("records")}
    from clusterkit.data.left_out import LeftOut

    left_out = left_out_lines(LeftOut.of_record(result.summary["left_out"]))
    lines = [*_counts(result.summary), *left_out, *_found(result.summary)]
    lines += [f"remark     {text}" for text in result.summary["remarks"]]
    lines.append(f"labels     {result.summary['label_errors']}")
    lines += _asked(result, ask, out)
    lines += [f"written    {out}", f"open       {result.page}"] if result.page else []
    # A file may be called anything: what is no printable letter must not reach the terminal.
    print_summary(summary, common.as_json, ["".join(c if c.isprintable() else " " for c in line)
                                     for line in lines])  # fmt: skip
    if strict and result.problems:
        raise ClusterkitError(f"{result.problems} problems were found (--strict)")


def _asked(result: "Inspection", ask: int | None, out: Path | None) -> list[str]:
    """Return the lines on images to label: all where they are written nowhere else."""
    if result.to_label is None:
        return []
    names = result.to_label["image"].tolist()
    fewer = f", not {ask}: the others are copies or cannot be read" * (len(names) < (ask or 0))
    shown = names if out is None else names[:_NAMED]
    more = f"; all are in {out / 'to_label.csv'}" if out and len(shown) < len(names) else ""
    lines = [f"label      {len(names)} images first{fewer}{more}"]
    lines += [f"  {number:<8} {name}" for number, name in enumerate(shown, 1)]
    if out:
        root = quote(result.summary["to_label"]["root"])
        lines.append(f"next       fill in the column label, then clusterkit fit "
                     f"{quote(str(out / 'to_label.csv'))} --images {root}")  # fmt: skip
    return lines


def _counts(summary: dict) -> list[str]:
    broken = summary["images"] - summary["readable"]
    lines = [f"images     {summary['images']}" + (f", {broken} unreadable" if broken else "")]
    named = [f"{n} {label}" for label, n in summary["classes"].items()]
    if summary["unlabelled"]:
        named.append(f"{summary['unlabelled']} without a label")
    lines.append(f"classes    {len(summary['classes'])}: {_some(named)}")
    groups = summary["groups"]
    if groups["count"]:
        lines.append(f"groups     {groups['count']} of {groups['smallest']} to "
                     f"{groups['largest']} images")  # fmt: skip
    if summary["splits"]:
        lines.append("splits     " + _some([f"{n} {s}" for s, n in summary["splits"].items()]))
    sizes = [f"{size} ({n})" for size, n in summary["sizes"]["named"].items()]
    more = summary["sizes"]["count"] - len(sizes)
    lines.append(f"sizes      {_some(sizes, more)}; {summary['grey']} grey, "
                 f"{summary['colour']} in colour")  # fmt: skip
    return lines


def _some(values: list[str], more: int = 0) -> str:
    more += max(0, len(values) - _NAMED)
    return ", ".join(values[:_NAMED]) + (f" and {more} more" if more else "")


def _found(summary: dict) -> list[str]:
    # What is left out has lines of its own.
    found = {name: kind for name, kind in summary["findings"].items() if name != "left_out"}
    if not found:
        return ["found      nothing"]
    lines = []
    for name, kind in found.items():
        one = kind["findings"] == kind["images"]
        how_many = f"{kind['images']}" if one else f"{kind['findings']} of {kind['images']} images"
        lines.append(f"{kind['severity']:<10} {name} {how_many}, e.g. {kind['example']}")
    return lines
