"""`review`: check a person's corrections, and say what they change."""

import shlex
from pathlib import Path

import click

from clusterkit.commands.data_options import label_map_option
from clusterkit.commands.options import CommonOptions, common, print_summary, run_option


@click.command()
@click.argument("reviews", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="fiftyone:NAME",
    help="In the place of REVIEWS: the answers in a FiftyOne dataset from `clusterkit export`.",
)
@run_option
@label_map_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Write the checked reviews there, e.g. those that Label Studio exported.",
)
@common
def review(
    common: CommonOptions,
    reviews: Path | None,
    source: str | None,
    run: Path | None,
    out: Path | None,
    label_map: str | None,
) -> None:
    """Check a reviews file against a run, and say what `fit --reviews` would change.

    REVIEWS is a CSV or workbook (.xlsx) with columns image_id, image, label, decision (accept,
    relabel, reject, skip), reviewer, time, note; image_id cluster:3 names all images of cluster 3.
    Or it is the JSON that Label Studio exports of a project from `clusterkit export`. Without --run
    it is about the assignments.csv beside it, else the one that its rows name, else that of the
    newest run under ./runs.

    In FiftyOne an answer is a label in the field review, or one of the tags accept, reject, skip.
    """
    from clusterkit.formats.fiftyone_dataset import dataset_name
    from clusterkit.formats.named_assignments import fit_command
    from clusterkit.formats.review_settling import describe
    from clusterkit.reviewing import review as check

    if (reviews is None) == (source is None):
        raise click.UsageError("Give REVIEWS, or --from fiftyone:NAME." if source is None else
                               "Give REVIEWS or --from, not both.")  # fmt: skip
    if source is not None:
        dataset_name(source)
    given = str(reviews) if source is None else source
    summary = check(given, run, out, label_map or common.config.data.label_map)
    if file := out or reviews:
        step = fit_command(file, summary["against"], common.config.data.source)
    else:
        step = f"clusterkit review --from {shlex.quote(given)} --out reviews.csv"
    print_summary(summary, common.as_json, [
        f"against    {summary['against']}",
        *describe(summary),
        *([f"wrote      {out}"] if out else []),
        f"next       {step}",
    ])  # fmt: skip
