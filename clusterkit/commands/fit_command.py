"""`fit`: learn from labelled images and write a run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.commands.data_options import data_options, data_settings
from clusterkit.commands.options import (
    CommonOptions,
    PlacePath,
    common,
    config_option,
    encoder_options,
    features_option,
    left_out_lines,
    print_summary,
)
from clusterkit.config import override
from clusterkit.launched import launched

if TYPE_CHECKING:
    from clusterkit.formats.run import Run
    from clusterkit.formats.run_info import RunInfo


@click.command()
@click.argument("data", required=False, type=PlacePath())
@data_options
@click.option(
    "--reviews",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="CSV|JSON",
    help="A person's corrections, as labels; may be given again, later ones win.",
)
@click.option(
    "--reviews-of",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The run that the reviews are about, where they lie elsewhere; or one for each file.",
)
@features_option
@encoder_options
@config_option(
    "--epochs", key="train.epochs", type=int, help="Of fine-tuning", otherwise="by strategy"
)
@config_option(
    "--encoder",
    key="model.encoder",
    help="One encoder for both models, or one each (when fine-tuning)",
)
@config_option(
    "--max-classes", key="data.max_classes", type=int, help="More classes than this are an error"
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write the run; default a new folder under ./runs.",
)
@config_option(
    "--mlflow", key="train.mlflow", metavar="DIR|URI",
    help="Record settings, metrics and losses with MLflow, in a folder or by an address",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Do not go on with an interrupted fit.")
@common
def fit(
    common: CommonOptions,
    data: Path | str | None,
    run: Path | None,
    reviews: tuple[Path, ...],
    reviews_of: tuple[Path, ...],
    features: tuple[Path, ...],
    fresh: bool,
    **options: Any,
) -> None:
    """Learn from labelled images and write a run.

    DATA is a folder with one subfolder per class, a CSV with columns image and label, or a
    folder whose file names hold the labels. Default: the config's, else labeled/ or labels.csv.
    """
    if features and (options["backbone"] or options["weights"]):
        raise click.UsageError("--features stands in the place of an encoder; leave out --backbone "
                               "and --weights")  # fmt: skip
    from clusterkit.data.patients import group_column
    from clusterkit.training.fit import fit as fit_run
    from clusterkit.training.fit import follow_fit

    config = override(
        common.config,
        **data_settings(options),
        data__max_classes=options["max_classes"],
        model__backbone=options["backbone"],
        model__weights=options["weights"],
        model__encoder=options["encoder"],
        image__size=options["size"],
        train__epochs=options["epochs"],
        train__mlflow=options["mlflow"],
    )
    told: dict[str, Any] = {
        "config": config, "run": run, "reviews": reviews, "reviews_of": reviews_of,
        "features": features, "fresh": fresh,
    }  # fmt: skip
    if launched().follows:
        follow_fit(data, **told)
        return
    result = fit_run(data, **told, progress=common.bar)
    common.bar.close()
    _print(result, common.as_json, group_column(config.data) is None)


def _print(result: "Run", as_json: bool, declined: bool) -> None:
    """Print what was learned; `declined`: the settings say that there are no groups."""
    from clusterkit.data.left_out import LeftOut

    info, metrics = result.info, result.info.metrics
    summary = {
        "run": str(result.path),
        "classes": info.classes,
        "images": info.data.images,
        "left_out": info.data.left_out,
        **({"features": info.features.to_dict()} if info.features else {}),
        "strategy": info.strategy,
        "metrics": metrics,
        **({"reviews": info.reviews} if info.reviews else {}),
    }
    print_summary(summary, as_json, [
        f"run        {result.path}",
        f"learned    {len(info.classes)} classes from {info.data.images} images; "
        f"{_encoder(info)}",
        *_without_pictures(info.data.without_pictures, info.data.images),
        *left_out_lines(LeftOut.of_record(info.data.left_out)),
        *_reviewed(info.reviews, result.path),
        f"strategy   {info.strategy}: {info.strategy_reason}",
        *_measured(metrics, info.data.groups, declined),
        f"next       clusterkit assign UNLABELED --run {result.path}"
        + " --features FILE" * (info.features is not None),
    ])  # fmt: skip


def _encoder(info: "RunInfo") -> str:
    if info.features is None:
        return f"{info.backbone}, {info.weights} weights"
    return f"features of {info.features.name}, {info.features.dimension} numbers an image"


def _without_pictures(count: int, images: int) -> list[str]:
    if not count:
        return []
    return [f"pictures   {count} of {images} images are not there or cannot be read: copies among "
            "them, and how images look, are left out of account"]  # fmt: skip


def _measured(metrics: dict[str, Any], groups: int, declined: bool) -> list[str]:
    """Return lines on the accuracy of held-out images, and of test images if there are any."""
    from clusterkit.formats.run_info import describe_test

    said = _held_out(metrics, groups, declined)
    lines = [f"held out   accuracy {metrics['accuracy']:.1%} on {said}"]
    test = metrics.get("test")
    return lines if test is None else [*lines, f"test       {describe_test(test)}"]


def _held_out(metrics: dict[str, Any], groups: int, declined: bool) -> str:
    """Return what was held out in words: groups only where somebody named some."""
    images, units = metrics["held_out_images"], metrics["held_out_units"]
    if metrics["within_groups"]:
        return (f"{images} images of the groups that were learned from: optimistic, and for these "
                "groups (patients) only; nothing is promised")  # fmt: skip
    if groups:
        return f"{images} images of {units} groups that the models had not seen"
    # Copies and frames are held out together.
    copies = f" ({units} without their copies)" if units < images else ""
    said = f"{images} images{copies} that the models had not seen"
    if declined:
        return said
    return f"{said}; no groups are named: others of the same patients may have been learned from"


def _reviewed(summary: dict[str, Any], run: Path) -> list[str]:
    """Return lines on what reviews changed, and on the assignments that they are about."""
    if not summary:
        return []
    from clusterkit.formats.review_settling import describe

    against = [os.path.normpath(run / a) for a in summary["against"] if a]
    lines = [f"reviewed   {', '.join(summary['files'])}"]
    lines += [f"against    {a}" for a in dict.fromkeys(against)]
    return lines + describe(summary)
