"""`review`: check a person's corrections, and say what they change."""

from pathlib import Path

import click

from clusterkit.commands.data_options import label_map_option
from clusterkit.commands.options import CommonOptions, common, print_summary, run_option


@click.command()
@click.argument("reviews", type=click.Path(path_type=Path))
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
    reviews: Path,
    run: Path | None,
    out: Path | None,
    label_map: str | None,
) -> None:
    """Check a reviews file against a run, and say what `fit --reviews` would change.

    REVIEWS is a CSV with columns image_id, image, label, decision (accept, relabel, reject,
    skip), reviewer, time, note; image_id cluster:3 names all images of cluster 3. Or it is the
    JSON that Label Studio exports of a project from `clusterkit export`. Without --run it is about
    the assignments.csv beside it, else the one that its rows name, else that of the newest run
    under ./runs.
    """
    from clusterkit.formats.review_settling import describe
    from clusterkit.formats.reviewed_place import fit_command
    from clusterkit.reviewing import review as check

    summary = check(reviews, run, out, label_map or common.config.data.label_map)
    print_summary(summary, common.as_json, [
        f"against    {summary['against']}",
        *describe(summary),
        *([f"wrote      {out}"] if out else []),
        "next       "
        + fit_command(out or reviews, summary["against"], common.config.data.source),
    ])  # fmt: skip
