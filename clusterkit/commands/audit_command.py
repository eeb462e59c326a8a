"""`audit`: the page, or one picture, that shows why each image got its label."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.commands.options import (
    CommonOptions,
    common,
    config_option,
    features_option,
    print_summary,
    run_option,
)
from clusterkit.config import override

if TYPE_CHECKING:
    from clusterkit.formats.run import Run


@click.command()
@run_option
@click.option(
    "--assignments", type=click.Path(path_type=Path), metavar="CSV", help="Default: the run's."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: audit/ in the run."
)
@config_option("--limit", key="audit.limit", type=int, help="Images with CAMs")
@config_option("--method", key="audit.method", help="Of the CAMs")
@config_option("--originals", key="audit.originals", help="Images in the large view")
@click.option(
    "--image",
    metavar="FILE",
    help="Instead of the page, one picture with all about this image, for a report.",
)
@features_option
@click.option(
    "--serve",
    is_flag=True,
    help="Show the page from this machine; what is decided there goes straight to reviews.csv "
    "beside the assignments. Ctrl-C ends it.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="With --serve; default 8642, if free.")
@common
def audit(
    common: CommonOptions,
    run: Path | None,
    assignments: Path | None,
    out: Path | None,
    limit: int | None,
    method: str | None,
    originals: str | None,
    image: str | None,
    features: tuple[Path, ...],
    serve: bool,
    port: int | None,
) -> None:
    """Write one HTML page that shows why each image got its label, and to correct it in."""
    if image is not None and serve:
        raise click.UsageError("--image draws one picture, --serve shows the page; give one")
    loaded, config = common.load_run(run)
    config = override(config, audit__limit=limit, audit__method=method, audit__originals=originals)
    if image is not None:
        from clusterkit.auditing.sheet import write_sheet

        sheet = write_sheet(loaded, image, config=config, assignments=assignments, out=out)
        print_summary({"picture": str(sheet)}, common.as_json, [f"picture    {sheet}"])
        return
    if serve and config.audit.originals == "link":
        raise click.UsageError("--serve shows no file outside the page's folder, so --originals "
                               "link leads nowhere; give --originals copy")  # fmt: skip
    from clusterkit.auditing.audit import audit as audit_run

    page = audit_run(
        loaded,
        assignments=assignments,
        out=out,
        config=config,
        keep=serve,
        features=features,
        progress=common.bar,
    )
    common.bar.close()
    if not serve:
        print_summary({"page": str(page)}, common.as_json, [f"open       {page}"])
        return
    _serve(loaded, page, assignments, port, common.as_json)


def _serve(
    run: "Run", page: Path, assignments: Path | None, port: int | None, as_json: bool
) -> None:
    from clusterkit.auditing.review_file import ReviewFile
    from clusterkit.auditing.serve import ReviewServer
    from clusterkit.formats.assignment_pair import load_assigned

    csv = assignments or run.own("assignments.csv")
    reviews = ReviewFile(csv.parent / "reviews.csv", load_assigned(csv), run.manifest)

    def ready(url: str) -> None:
        summary = {"page": str(page), "url": url, "reviews": str(reviews.path)}
        print_summary(summary, as_json, [
            f"open       {url}",
            f"saved to   {reviews.path}",
            "Ctrl-C ends it; the address works on this machine only",
        ])  # fmt: skip

    ReviewServer(page.parent, reviews, port).run(ready)
