"""`export`: hand assignments on to another program."""

from pathlib import Path
from typing import Any

import click

from clusterkit.commands.options import CommonOptions, common, print_summary, run_option


@click.command()
@click.option(
    "--to",
    required=True,
    type=click.Choice(["label-studio", "fiftyone", "folders", "coco", "xlsx", "parquet", "arrow"]),
    help="The program or format.",
)
@run_option
@click.option(
    "--assignments", type=click.Path(path_type=Path), metavar="CSV", help="Default: the run's."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Default: export/ in the run. An earlier export is replaced, nothing else.",
)
@click.option(
    "--status",
    metavar="S,…",
    help="Which rows: all, or some of assigned,reviewed,review,novel,duplicate,failed. Default: "
    "review,novel for label-studio; assigned,reviewed,duplicate for folders and coco; for fiftyone "
    "all but failed; for tables all.",
)
@click.option(
    "--copy",
    is_flag=True,
    help="Write the images too, as PNG (DICOM, TIFF and frames as well); no header goes with them.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="label-studio: its document root, which holds the images; default their folder's parent.",
)
@click.option(
    "--url-prefix",
    metavar="URL",
    help="label-studio: before each image's path; default /data/local-files/?d=.",
)
@click.option(
    "--name",
    help="fiftyone: of the dataset, which is renewed in place if it is of this run; default "
    "clusterkit- and the run's name.",
)
@common
def export(
    common: CommonOptions,
    run: Path | None,
    to: str,
    **options: Any,
) -> None:
    """Hand assignments on: Label Studio tasks, a FiftyOne dataset, class folders, COCO-style JSON;
    or the table alone, with types: a workbook (xlsx), Parquet, Arrow.

    What Label Studio exports after the review is read by `clusterkit review` and
    `clusterkit fit --reviews`; answers in FiftyOne by `clusterkit review --from fiftyone:NAME`.
    """
    from clusterkit.exporting.export import export as export_run

    loaded, _ = common.load_run(run)
    result = export_run(loaded, to, progress=common.bar, **options)
    common.bar.close()
    summary = {
        "to": to,
        "path": str(result.path),
        "images": sum(result.counts.values()),
        "status": list(result.statuses),
        "counts": result.counts,
        "left_out": result.left_out,
        "next": result.next,
    }
    counts = ", ".join(f"{n} {status}" for status, n in result.counts.items())
    print_summary(summary, common.as_json, [
        f"exported   {summary['images']} images to {to}: {counts}",
        f"status     {','.join(result.statuses)}",
        *(f"left out   {n}: {reason}" for reason, n in result.left_out.items()),
        f"wrote      {result.path}",
        *(f"next       {line}" for line in result.next),
    ])  # fmt: skip
