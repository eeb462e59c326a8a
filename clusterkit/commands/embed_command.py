"""`embed`: the features of images in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.commands.data_options import listing_options, listing_settings
from clusterkit.commands.options import (
    CommonOptions,
    PlacePath,
    common,
    encoder_options,
    engine_options,
    left_out_lines,
    print_summary,
)
from clusterkit.config import override

if TYPE_CHECKING:
    from clusterkit.inference.engines import EngineName


@click.command()
@click.argument("data", type=PlacePath())
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to: .npz, .parquet or .h5.",
)
@encoder_options
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the encoder of this run, as it reads images.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Add the features of mirror images, which fit then may learn from; four times as much.",
)
@listing_options
@engine_options
@common
def embed(
    common: CommonOptions,
    data: Path | str,
    out: Path,
    backbone: str | None,
    weights: str | None,
    size: int | None,
    run: Path | None,
    views: bool,
    engine: "EngineName",
    address: str | None,
    **options: Any,
) -> None:
    """Write the features of images to a file, for other tools and for --features.

    DATA is a folder (searched to the bottom), a CSV with a column image, or one image; also in a
    store: s3://BUCKET/FOLDER, gs://, az://. Each image is one vector of float32, named by its path
    and by the id of its bytes.
    """
    if run is not None and (backbone or weights or size):
        raise click.UsageError("--run names the encoder and the size; leave out --backbone, "
                               "--weights and --size")  # fmt: skip
    from clusterkit.inference.embed import embed as embed_images

    loaded = None
    if run is not None:
        loaded, config = common.load_run(run)
    else:
        config = override(common.config, model__backbone=backbone, model__weights=weights,
                          image__size=size)  # fmt: skip
    config = override(config, **listing_settings(options))
    found = embed_images(data, out, config=config, run=loaded, views=views, engine=engine,
                         address=address, progress=common.bar)  # fmt: skip
    common.bar.close()
    summary = {
        "features": str(found.path), "images": found.images, "dimension": found.dimension,
        "views": found.views, "backbone": found.backbone, "weights": found.weights,
        "failed": found.failed, "left_out": found.left_out.to_dict(),
    }  # fmt: skip
    mirrored = " and of 3 mirror images each" if found.views > 1 else ""
    print_summary(summary, common.as_json, [
        f"written    {found.path}: {found.dimension} numbers an image, of {found.images} images"
        + mirrored,
        f"encoder    {found.backbone}, {found.weights} weights",
        *([f"failed     {found.failed} images could not be read"] if found.failed else []),
        *left_out_lines(found.left_out),
        f"next       clusterkit fit LABELED --features {found.path}",
    ])  # fmt: skip
