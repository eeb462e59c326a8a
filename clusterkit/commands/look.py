"""`audit`, `similar` and `demo`: look at what a run does."""

from pathlib import Path
from typing import Any

import click

from clusterkit.commands.options import Bar, common, load_run, print_summary, run_option
from clusterkit.commands.outcomes import outcome_lines
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
@common
def audit(
    config: Config,
    bar: Bar,
    as_json: bool,
    chosen: Path | None,
    run: Path | None,
    assignments: Path | None,
    out: Path | None,
    limit: int | None,
    method: str | None,
) -> None:
    """Write one HTML page that shows why each image got its label."""
    from clusterkit.audit.build import audit as audit_run

    loaded, config = load_run(run, config, chosen)
    config = override(config, audit__limit=limit, audit__method=method)
    page = audit_run(loaded, assignments=assignments, out=out, config=config, progress=bar)
    bar.close()
    print_summary({"page": str(page)}, as_json, [f"open       {page}"])


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
    from clusterkit.finder import similar as find_similar

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
    from clusterkit.patients import similar_groups

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
