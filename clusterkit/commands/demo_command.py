"""`demo`: the whole path on the sample that the package makes."""

from pathlib import Path
from shlex import quote

import click

from clusterkit.commands.options import CommonOptions, common, print_summary
from clusterkit.config import config_from_dict, override


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
def demo(common: CommonOptions, out: Path) -> None:
    """Make a sample of cell pictures, fit, assign, audit, and say where to look."""
    from clusterkit.demo import DEMO
    from clusterkit.demo import demo as run_demo

    config = common.config
    settings = override(config_from_dict(DEMO), device=config.device, seed=config.seed)
    result = run_demo(out, config=settings, progress=common.bar)
    common.bar.close()
    n = result.counts
    summary = {"page": str(result.page), "assignments": str(result.assignments), **n}
    print_summary(summary, common.as_json, [
        f"labelled   {n['right'] + n['wrong']} of {n['images']} images: {n['right']} right, "
        f"{n['wrong']} wrong",
        f"refused    {n['refused']}, among them {n['refused_unknown_class']} of the "
        f"{n['unknown_class']} images of a class that nobody labelled; {n['failed']} unreadable",
        f"promise    {result.promise}",
        f"table      {result.assignments}",
        f"open       {result.page}",
        f"next       clusterkit certify --run {quote(str(result.assignments.parent))} --serve",
    ])  # fmt: skip
