"""Pictures of pairs of images, plain and with the places that their similarity comes from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clusterkit.auditing.explain import Explainer
from clusterkit.auditing.pictures import CAMS_OPTION, check_picture, overlay, thumbnail
from clusterkit.auditing.token_part import pair_token_share
from clusterkit.data.imageio.read import seen_by_model
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.run import Run
from clusterkit.inference.given import why_no_cams

# Characters of a name in a picture: more would run into its neighbour.
NAME = 30


@dataclass(frozen=True)
class PairPicture:
    """Pictures of two images, first and second, as the model sees them.

    Attributes
    ----------
    plain : two RGB pictures
    cams : two RGB pictures
        With the Siamese CAMs laid over.
    left_out : str
        What the CAMs cannot show, in words; "": nothing.
    """

    plain: tuple[Image.Image, Image.Image]
    cams: tuple[Image.Image, Image.Image]
    left_out: str = ""


@dataclass(frozen=True)
class PairRow:
    """Pair with its words: the title over the row, and the names of the two files."""

    picture: PairPicture
    title: str
    names: tuple[str, str]


def picture_pair(
    explainer: Explainer, run: Run, first: Image.Image, second: Image.Image, label: str
) -> PairPicture:
    """Draw two RGB images and their Siamese CAMs.

    Parameters
    ----------
    explainer : Explainer
    run : Run
    first, second : RGB
    label : str
        The class that they are compared as: that of the labelled image.

    Returns
    -------
    PairPicture
    """
    how = run.config.image
    pixels = [seen_by_model(image, how) for image in (first, second)]
    encoded = [explainer.encode(image[None]) for image in pixels]
    classes = np.array([run.classes.index(label)])
    heats = explainer.pair_heats(encoded[0], encoded[1], classes, run.info.size)
    plain = thumbnail(first, pixels[0], how.resize), thumbnail(second, pixels[1], how.resize)
    cams = overlay(plain[0], heats[0][0]), overlay(plain[1], heats[1][0])
    left_out = ""
    if explainer.networks.encoder.tokens:
        share = pair_token_share(explainer, encoded[0], encoded[1], classes)[0]
        left_out = (f"{share:.0%} of the evidence is the class token's, which sees the whole "
                    "picture and has no place in it")  # fmt: skip
    return PairPicture(plain, cams, left_out)


def check_cams_picture(run: Run, path: Path | str | None) -> None:
    """Raise what would be raised after hours if CAMs of a run were to be drawn to a path.

    Raises
    ------
    ClusterkitError
        The run has no encoder, or the picture cannot be written; None: none is wanted.
    """
    check_picture(path, CAMS_OPTION)
    if path is not None and (lack := why_no_cams(run)):
        raise ClusterkitError(f"{lack} Leave out {CAMS_OPTION.split()[0]}.")


def open_labelled(run: Run, image: str) -> Image.Image:
    """Read a labelled image of a run.

    Raises
    ------
    ClusterkitError
        It is not there any more, or cannot be read.
    """
    try:
        return run.open_image(image)
    except DataError as error:
        raise ClusterkitError(
            f"labelled image {image} is not under {run.data_root} ({error}); "
            "put the data back where it was when the run was fitted"
        ) from error


def draw_pair(row: PairRow) -> Image.Image:
    """Draw one pair as two by two pictures: plain above, with CAMs below; returns RGB."""
    figure, canvas = _figure((7, 7.4))
    figure.suptitle(_plain(row.title))
    if row.picture.left_out:
        figure.supxlabel(_plain(row.picture.left_out), fontsize=9)
    axes = figure.subplots(2, 2)
    lines = ((row.picture.plain, ""), (row.picture.cams, "where the similarity comes from"))
    for line, (pictures, what) in enumerate(lines):
        for column, picture in enumerate(pictures):
            _show(axes[line, column], picture)
            name = what or _plain(row.names[column])
            axes[line, column].set_title(name, fontsize=9, wrap=True)
    return _rendered(canvas)


def draw_pairs(rows: list[PairRow], title: str, foot: str) -> Image.Image:
    """Draw many pairs, one below the other: first, its CAM, second, its CAM.

    Parameters
    ----------
    rows : list of PairRow
        At least one.
    title, foot : str
        Text above and below all rows.

    Returns
    -------
    RGB picture.
    """
    figure, canvas = _figure((9, 0.9 + 2.75 * len(rows)))
    figure.suptitle(_plain(title), fontsize=12)
    # A picture is passed on without what was printed beside it.
    figure.supxlabel(_plain(foot), fontsize=8, wrap=True)
    parts = np.atleast_1d(figure.subfigures(len(rows), 1))
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(_plain(row.title), fontsize=10, fontweight="bold", x=0.01, ha="left")
        axes = part.subplots(1, 4)
        pictures = [p for pair in zip(row.picture.plain, row.picture.cams, strict=True)
                    for p in pair]  # fmt: skip
        what = "what makes it alike"
        for axis, picture, name in zip(
            axes, pictures, (row.names[0], what, row.names[1], what), strict=True
        ):
            _show(axis, picture)
            axis.set_title(_plain(shorten(name)), fontsize=8)
    return _rendered(canvas)


def shorten(name: str, length: int = NAME) -> str:
    """Cut the start off: names differ at their end, whatever folder they are in."""
    return name if len(name) <= length else "…" + name[-length:]


def _figure(inches: tuple[float, float]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    return figure, FigureCanvasAgg(figure)


def _show(axis, picture: Image.Image) -> None:
    axis.imshow(picture)
    axis.axis("off")


def _rendered(canvas) -> Image.Image:
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _plain(text: str) -> str:
    # A dollar sign in a name is no formula, and a line break in one no new line.
    return " ".join(text.split()).replace("$", r"\$")
