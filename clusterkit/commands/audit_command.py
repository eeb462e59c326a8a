"""`audit`, `similar` and `demo`: look at what a run does."""

from pathlib import Path
from typing import Any

import click

from clusterkit.commands.options import Bar, common, load_run, print_summary, run_option
from clusterkit.commands.outcome_lines import outcome_lines
from clusterkit.config import Config, override


@click.command()
@run_option
@click.option(
    "--assignments", type=click.Path(path_type=Path), metavar="CSV", help="Default: the run's."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: audit/ in the run."
)
@click.option("--limit", type=int, help="Images with CAMs; default 200.")
@click.option("--method", type=click.Choice(["cam", "gradcam"]), help="Default: cam.")
@click.option(
    "--image",
    metavar="FILE",
    help="Instead of the page, one picture with all about this image, for a report.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Show the page from this machine; what is decided there goes straight to reviews.csv "
    "beside the assignments. Ctrl-C ends it.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="With --serve; default 8642, if free.")
@common
def audit(
    config: Config,
    bar: Bar,
    as_json: bool,
    chosen: Path | None,
    run: Path | None,
    limit: int | None,
    method: str | None,
    image: str | None,
    serve: bool,
    port: int | None,
    **places: Path | None,
) -> None:
    """Write one HTML page that shows why each image got its label, and to correct it in."""
    if image is not None and serve:
        raise click.UsageError("--image draws one picture, --serve shows the page; give one")
    loaded, config = load_run(run, config, chosen)
    config = override(config, audit__limit=limit, audit__method=method)
    if image is not None:
        from clusterkit.auditing.sheet import write_sheet

        sheet = write_sheet(loaded, image, config=config, **places)
        print_summary({"picture": str(sheet)}, as_json, [f"picture    {sheet}"])
        return
    from clusterkit.auditing.audit import audit as audit_run

    page = audit_run(loaded, config=config, keep=serve, progress=bar, **places)
    bar.close()
    if not serve:
        print_summary({"page": str(page)}, as_json, [f"open       {page}"])
        return
    _serve(loaded, page, places["assignments"], port, as_json)


def _serve(run: Any, page: Path, assignments: Path | None, port: int | None, as_json: bool) -> None:
    from clusterkit.auditing.serve import ReviewFile, ReviewServer
    from clusterkit.formats.assignments import load_assigned

    csv = assignments or run.path / "assignments.csv"
    reviews = ReviewFile(csv.parent / "reviews.csv", load_assigned(csv), run.manifest)

    def ready(url: str) -> None:
        summary = {"page": str(page), "url": url, "reviews": str(reviews.path)}
        print_summary(summary, as_json, [
            f"open       {url}",
            f"saved to   {reviews.path}",
            "Ctrl-C ends it; the address works on this machine only",
        ])  # fmt: skip

    ReviewServer(page.parent, reviews, port).run(ready)


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
@common
def similar(
    config: Config,
    bar: Bar,
    as_json: bool,
    chosen: Path | None,
    image: str,
    run: Path | None,
    k: int,
    within: str,
    by: str,
    outcomes: Path | None,
    cams: Path | None,
) -> None:
    """Show the labelled images, or patients, that are most similar to IMAGE.

    With --by group, IMAGE is a patient: an image, a folder of one patient's images, or the name
    of a group of the run, which is then left out. A file or folder of that name comes first.

    How alike two patients are: each image is compared with the other patient's most similar one;
    the mean over the images of either patient, and of both means.
    """
    if by == "group":
        loaded, config = load_run(run, config, chosen)
        _similar_groups(loaded, image, k, outcomes, cams, config, as_json)
        return
    if outcomes is not None:
        raise click.UsageError("--outcomes counts patients; add --by group")
    from clusterkit.retrieval.finder import similar as find_similar

    loaded, config = load_run(run, config, chosen)
    found = find_similar(loaded, Path(image), k=k, within=within, cams=cams, config=config)
    lines = [
        f"{row.similarity * 100:.1f}% similarity  {row.label}  {row.image}"
        for row in found.itertuples()
    ]
    print_summary({"image": image, "similar": found.to_dict("records")}, as_json, lines)


def _similar_groups(
    run: Any,
    query: str,
    k: int,
    outcomes: Path | None,
    cams: Path | None,
    config: Config,
    as_json: bool,
) -> None:
    from clusterkit.retrieval.groups import similar_groups

    found = similar_groups(run, query, k=k, outcomes=outcomes, cams=cams, config=config)
    lines = [
        f"{row.similarity * 100:.1f}% similarity  {row.label}  {row.image}  {row.group}  "
        f"({row.n_images} image{'s' * (row.n_images > 1)}"
        f"{', the same patient?' * (row.same_images > 0)})"
        for row in found.table.itertuples()
    ]
    summary = {"image": query, "similar": found.table.to_dict("records")}
    if found.outcomes is not None:
        lines += ["", *outcome_lines(found.outcomes, config.assign.confidence)]
        # JSON has no NaN.
        counted = found.outcomes.astype(object).where(found.outcomes.notna(), None)
        summary["outcomes"] = counted.to_dict("records")
    print_summary(summary | {"note": found.note}, as_json, [*lines, "", *found.notes])


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("clusterkit-demo"),
    help="Where to put it.",
    show_default=True,
    metavar="DIR",
)
@common
def demo(config: Config, bar: Bar, as_json: bool, chosen: Path | None, out: Path) -> None:
    """Make a sample of cell pictures, fit, assign, audit, and say where to look."""
    from clusterkit.config import config_from_dict
    from clusterkit.demo import DEMO
    from clusterkit.demo import demo as run_demo

    settings = override(config_from_dict(DEMO), device=config.device, seed=config.seed)
    result = run_demo(out, config=settings, progress=bar)
    bar.close()
    n = result.counts
    summary = {"page": str(result.page), "assignments": str(result.assignments), **n}
    print_summary(summary, as_json, [
        f"labelled   {n['right'] + n['wrong']} of {n['images']} images: {n['right']} right, "
        f"{n['wrong']} wrong",
        f"refused    {n['refused']}, among them {n['refused_unknown_class']} of the "
        f"{n['unknown_class']} images of a class that nobody labelled; {n['failed']} unreadable",
        f"promise    {result.promise}",
        f"table      {result.assignments}",
        f"open       {result.page}",
    ])  # fmt: skip
