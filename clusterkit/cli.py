"""The command line: parses, calls the API, prints. Each command maps to one function."""

import json
import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from clusterkit import __version__
from clusterkit.config import Config, load_config, override
from clusterkit.errors import ClusterkitError, ConfigError

RESUME = "interrupted; an interrupted assign resumes when the same command is given again"


class _Bar:
    """Turns (stage, done, total) into a tqdm bar on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.bar, self.stage = quiet or not sys.stderr.isatty(), None, None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.quiet:
            return
        from tqdm import tqdm

        if stage != self.stage:
            self.close()
            self.bar, self.stage = tqdm(total=total, desc=stage, file=sys.stderr), stage
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        click.echo(prefix + record.getMessage(), err=True)


def common(function: Callable) -> Callable:
    """Add the options that all commands take; the command gets `config`, `bar`, `as_json`."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Settings; default ./clusterkit.toml if there is one.",
    )
    @click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
    @click.option("--seed", type=int, help="Same seed and data: same result.")
    @click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    @click.option("-q", "--quiet", is_flag=True, help="Errors only.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice: tracebacks.")
    @wraps(function)
    def wrapped(
        config_file: Path | None,
        device: str | None,
        seed: int | None,
        as_json: bool,
        quiet: bool,
        verbose: int,
        **kwargs: Any,
    ) -> None:
        _set_up(quiet, verbose)
        config = override(load_config(config_file), device=device, seed=seed)
        bar = _Bar(quiet)
        try:
            function(config=config, chosen=config_file, bar=bar, as_json=as_json, **kwargs)
        finally:
            bar.close()

    return wrapped  # fmt: skip


def run_option(function: Callable) -> Callable:
    """Add --run, for commands that read one."""
    return click.option("--run", type=click.Path(path_type=Path), metavar="DIR",
                        help="Default: the newest run under ./runs.")(function)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Label and cluster image datasets from a small labelled fraction, with evidence."""


@cli.command()
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--images", help="Root of a CSV's image paths; default: the CSV's folder.")
@click.option(
    "--label-pattern", metavar="REGEX", help="Labels from file names, e.g. '^(.+)_\\d+.jpg$'."
)
@click.option("--image-column", help="Default: image.")
@click.option("--label-column", help="Default: label; empty: unlabelled.")
@click.option("--group-column", help="Default: group; e.g. the patient.")
@click.option("--unlabeled", metavar="DIR", help="Unlabelled images to count in the data summary.")
@click.option("--backbone", help="A torchvision classification network; default resnet34.")
@click.option("--weights", metavar="auto|none|FILE", help="Pretrained weights; default auto.")
@click.option("--size", type=int, help="Pixels a side; default 224.")
@click.option("--epochs", type=int, help="Of fine-tuning; default by strategy.")
@click.option(
    "--encoder",
    type=click.Choice(["shared", "separate"]),
    help="One encoder for both models, or one each (when fine-tuning).",
)
@click.option("--max-classes", type=int, help="More classes than this are an error.")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write the run; default a new folder under ./runs.",
)
@common
def fit(
    config: Config,
    bar: _Bar,
    as_json: bool,
    chosen: Path | None,
    data: Path | None,
    run: Path | None,
    **options: Any,
) -> None:
    """Learn from labelled images and write a run.

    DATA is a folder with one subfolder a class, a CSV with columns image and label, or a
    folder whose file names hold the labels. Default: the config's, else labeled/ or labels.csv.
    """
    from clusterkit.fitting import fit as fit_run

    config = override(
        config,
        **{
            f"data__{k}": options[k]
            for k in (
                "images",
                "label_pattern",
                "image_column",
                "label_column",
                "group_column",
                "unlabeled",
                "max_classes",
            )
        },
        model__backbone=options["backbone"],
        model__weights=options["weights"],
        model__encoder=options["encoder"],
        image__size=options["size"],
        train__epochs=options["epochs"],
    )
    result = fit_run(data, config=config, run=run, progress=bar)
    bar.close()
    info, metrics = result.info, result.info["metrics"]
    summary = {
        "run": str(result.path),
        "classes": info["classes"],
        "images": info["data"]["images"],
        "strategy": info["strategy"],
        "metrics": metrics,
    }
    _print(summary, as_json, [
        f"run        {result.path}",
        f"learned    {len(info['classes'])} classes from {info['data']['images']} images; "
        f"{info['backbone']}, {info['weights']} weights",
        f"strategy   {info['strategy']}: {info['strategy_reason']}",
        f"held out   accuracy {metrics['accuracy']:.1%} on {metrics['held_out_images']} images of "
        f"{metrics['held_out_units']} groups that the models had not seen",
        f"next       clusterkit assign UNLABELED --run {result.path}",
    ])  # fmt: skip


@cli.command()
@click.argument("unlabeled", type=click.Path(path_type=Path))
@run_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Default: assignments.csv in the run.",
)
@click.option(
    "--max-error",
    metavar="E|none",
    help="Largest part of wrong labels; default 0.05. none: assign everything.",
)
@click.option("--confidence", type=float, help="Of that promise; default 0.9.")
@click.option("--images", help="Root of a CSV's image paths; default: the CSV's folder.")
@click.option("--fresh", is_flag=True, help="Do not resume an interrupted assign.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", help="Of a Ray cluster.")
@click.option("--strict", is_flag=True, help="Exit with 1 if any image failed.")
@common
def assign(
    config: Config,
    bar: _Bar,
    as_json: bool,
    chosen: Path | None,
    unlabeled: Path,
    run: Path | None,
    out: Path | None,
    max_error: str | None,
    confidence: float | None,
    images: str | None,
    fresh: bool,
    engine: str,
    address: str | None,
    strict: bool,
) -> None:
    """Label images, or refuse to, with evidence: writes assignments.csv.

    UNLABELED is a folder (searched to the bottom), a CSV with a column image, or one image.
    """
    if engine == "ray" or address:
        raise ConfigError("the Ray engine is not in this version; leave out --engine ray and "
                          "--address")  # fmt: skip
    from clusterkit.engine.assign import assign as assign_images

    error = _error_value(max_error)
    loaded, config = _load_run(run, config, chosen)
    config = override(config, assign__max_error=error, data__images=images,
                      assign__confidence=confidence)  # fmt: skip
    result = assign_images(loaded, unlabeled, config=config, out=out, fresh=fresh, progress=bar)
    bar.close()
    status = result.summary["status"]
    _print({"assignments": str(result.path), **result.summary}, as_json, [
        f"written    {result.path}: {result.summary['images']} images, "
        f"{result.summary['images_per_second']:.1f} a second",
        "status     " + ", ".join(f"{n} {name}" for name, n in status.items() if n),
        f"promise    {result.summary['promise_text']}",
        f"next       clusterkit audit --run {loaded.path}",
    ])  # fmt: skip
    if strict and status["failed"]:
        raise ClusterkitError(f"{status['failed']} images failed (--strict); see the column reason")


@cli.command()
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
    bar: _Bar,
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

    loaded, config = _load_run(run, config, chosen)
    config = override(config, audit__limit=limit, audit__method=method)
    page = audit_run(loaded, assignments=assignments, out=out, config=config, progress=bar)
    bar.close()
    _print({"page": str(page)}, as_json, [f"open       {page}"])


@cli.command()
@click.argument("image", type=click.Path(path_type=Path))
@run_option
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--within", type=click.Choice(["gate", "all"]), default="gate", show_default=True)
@click.option(
    "--by",
    type=click.Choice(["image", "group"]),
    default="image",
    show_default=True,
    help="group: each patient once.",
)
@click.option(
    "--cams",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw the query and the closest image with their CAMs.",
)
@common
def similar(
    config: Config,
    bar: _Bar,
    as_json: bool,
    chosen: Path | None,
    image: Path,
    run: Path | None,
    k: int,
    within: str,
    by: str,
    cams: Path | None,
) -> None:
    """Show the labelled images that are most similar to IMAGE."""
    from clusterkit.finder import similar as find_similar

    loaded, config = _load_run(run, config, chosen)
    found = find_similar(loaded, image, k=k, within=within, by=by, cams=cams, config=config)
    lines = [
        f"{row.similarity * 100:.1f}% similarity  {row.label}  "
        + (f"{row.group}  " if by == "group" else "")
        + str(row.image)
        for row in found.itertuples()
    ]
    _print({"image": str(image), "similar": found.to_dict("records")}, as_json, lines)


@cli.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("clusterkit-demo"),
    help="Where to put it.",
    show_default=True,
    metavar="DIR",
)
@common
def demo(config: Config, bar: _Bar, as_json: bool, chosen: Path | None, out: Path) -> None:
    """Make a sample of cell pictures, fit, assign, audit, and say where to look."""
    from clusterkit.config import config_from_dict
    from clusterkit.demo import DEMO
    from clusterkit.demo import demo as run_demo

    settings = override(config_from_dict(DEMO), device=config.device, seed=config.seed)
    result = run_demo(out, config=settings, progress=bar)
    bar.close()
    n = result.counts
    summary = {"page": str(result.page), "assignments": str(result.assignments), **n}
    _print(summary, as_json, [
        f"labelled   {n['right'] + n['wrong']} of {n['images']} images: {n['right']} right, "
        f"{n['wrong']} wrong",
        f"refused    {n['refused']}, among them {n['refused_unknown_class']} of the "
        f"{n['unknown_class']} images of a class that nobody labelled; {n['failed']} unreadable",
        f"promise    {result.promise}",
        f"table      {result.assignments}",
        f"open       {result.page}",
    ])  # fmt: skip


def main() -> None:
    """Run the command line; the exit code is DESIGN §5's."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    detailed = (
        sum(a.count("v") for a in arguments if a.startswith("-v")) + arguments.count("--verbose")
        > 1
    )
    try:
        cli(arguments, standalone_mode=False, prog_name="clusterkit")
    except click.exceptions.Abort:
        click.echo(RESUME, err=True)
        return 130
    except KeyboardInterrupt:
        click.echo(RESUME, err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ClusterkitError as error:
        if detailed:
            raise
        click.echo("error: " + " ".join(str(error).split()), err=True)
        return 1
    except Exception as error:
        if detailed:
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"error: {what}; -v -v shows where", err=True)
        return 1
    return 0


def _set_up(quiet: bool, verbose: int) -> None:
    logger = logging.getLogger("clusterkit")
    logger.handlers = [_Stderr()]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if verbose < 2:
        import warnings

        # Other libraries' remarks about themselves are nothing that a user can act on.
        warnings.simplefilter("ignore")


def _load_run(run: Path | None, config: Config, chosen: Path | None) -> tuple[Any, Config]:
    """Load a run; its own settings hold unless a config file says otherwise."""
    from clusterkit.models.run import Run, find_run

    loaded = Run.load(run or find_run())
    if chosen is None and not Path("clusterkit.toml").is_file():
        config = override(loaded.config, device=config.device)
    return loaded, config


def _error_value(text: str | None) -> float | str | None:
    if text is None or text == "none":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is neither a number nor none", param_hint="--max-error"
        ) from None


def _print(summary: dict, as_json: bool, lines: list[str]) -> None:
    click.echo(json.dumps(summary, ensure_ascii=False) if as_json else "\n".join(lines))
