"""`evidence`: the pictures of a few assignments, for a notebook or a sheet."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from clusterkit.auditing.batch import read_batch
from clusterkit.auditing.cards import CardDrawer
from clusterkit.auditing.page import Card, Match
from clusterkit.auditing.pictures import thumbnail
from clusterkit.config import Config
from clusterkit.data.files import ImageFolder
from clusterkit.data.imageio.read import seen_by_model
from clusterkit.errors import DataError
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.progress import silent

PICTURES = ("thumb", "classifier_cam", "cam", "nearest_thumb", "nearest_cam")


@dataclass(frozen=True)
class MatchPictures:
    """RGB pictures of a labelled image; None where it is not there any more.

    Attributes
    ----------
    match : Match
    thumb : Image or None
    cam, own_cam : Image or None
        The heat map of the comparison over the labelled image, and over the card's own image.
    """

    match: Match
    thumb: Image.Image | None
    cam: Image.Image | None
    own_cam: Image.Image | None


@dataclass(frozen=True)
class CardPictures:
    """Card and its RGB pictures; None where the image is not there, or there is no such CAM."""

    card: Card
    thumb: Image.Image | None
    classifier_cam: Image.Image | None
    matches: list[MatchPictures]


def evidence(
    run: Run | Path | str,
    rows: pd.DataFrame,
    *,
    assignments: Path | str | None = None,
    config: Config | None = None,
) -> pd.DataFrame:
    """Draw the evidence for the labels of a few images: the page's pictures, as PIL images.

    Parameters
    ----------
    run : Run or path
    rows : DataFrame
        Rows of `read_assignments`.
    assignments : path or None
        The CSV that they are of, which says where the images are; None: the run's.
    config : Config or None
        None: the run's; `config.audit.method` says how CAMs are made.

    Returns
    -------
    DataFrame with the index of `rows`; each cell an RGB picture of at most 256 pixels a side, or
    None where an image has failed, moved or changed:

    - thumb: the image, as far as the models see it;
    - classifier_cam: the places that speak for the predicted label;
    - cam, nearest_cam: the places that make the image and the closest labelled one similar;
    - nearest_thumb: the closest labelled image.

    In CAMs 1 (yellow) is the strongest place of that image, and 0 (violet) says nothing for it.

    Raises
    ------
    ClusterkitError
        The run or the CSV cannot be used.

    Examples
    --------
    >>> run = clusterkit.Run.load("clusterkit-demo/run")  # doctest: +SKIP
    >>> table = clusterkit.read_assignments(run.path / "assignments.csv")  # doctest: +SKIP
    >>> clusterkit.evidence(run, table.head(3))["cam"].iloc[0]  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    batch = read_batch(run, Path(assignments) if assignments else run.own("assignments.csv"))
    found = picture_rows(Predictor(run, run.config_with(config)), rows, batch.inputs)
    lines = []
    none = MatchPictures(Match("", "", None), None, None, None)
    for own in found:
        first = own.matches[0] if own.matches else none
        lines.append([own.thumb, own.classifier_cam, first.own_cam, first.thumb, first.cam])
    table = pd.DataFrame(index=rows.index, columns=list(PICTURES), dtype=object)
    for number, name in enumerate(PICTURES):
        table[name] = pd.Series([line[number] for line in lines], index=rows.index, dtype=object)
    return table


def picture_rows(
    predictor: Predictor, rows: pd.DataFrame, inputs: ImageFolder
) -> list[CardPictures]:
    """Draw the cards of some assignments, with up to three labelled images each.

    Parameters
    ----------
    predictor : Predictor
        Its config says by which method CAMs are made.
    rows : DataFrame
    inputs : ImageFolder
        Where the images are.
    """
    # The page's own drawer, so that no two places draw the same evidence differently.
    with TemporaryDirectory() as folder:
        out = Path(folder)
        drawer = CardDrawer(predictor, predictor.config.audit.method, inputs, out, "pictures")
        cards = drawer.draw(rows.reset_index(drop=True), np.arange(len(rows)), silent)
        return [_with_nearest(predictor.run, _read_pictures(card, out)) for card in cards]


def _read_pictures(card: Card, out: Path) -> CardPictures:
    thumb = _read(out, card.thumb)
    matches = []
    for match in card.matches:
        other = _read(out, match.thumb)
        cam, own = _over(other, out, match.cam), _over(thumb, out, match.own_cam)
        matches.append(MatchPictures(match, other, cam, own))
    return CardPictures(card, thumb, _over(thumb, out, card.classifier_cam), matches)


def _with_nearest(run: Run, own: CardPictures) -> CardPictures:
    """Add the labelled image that the table names where the image itself is gone, without CAMs."""
    card = own.card
    if own.matches or not card.nearest_image:
        return own
    try:
        image = run.open_image(card.nearest_image)
    except DataError:
        thumb = None
    else:
        how = run.config.image
        thumb = thumbnail(image, seen_by_model(image, how), how.resize)
    match = Match(card.nearest_image, card.nearest_label, card.nearest_similarity)
    return replace(own, matches=[MatchPictures(match, thumb, None, None)])


def _read(out: Path, name: str | None) -> Image.Image | None:
    if name is None:
        return None
    with Image.open(out / name) as picture:
        return picture.convert("RGB")


def _over(thumb: Image.Image | None, out: Path, name: str | None) -> Image.Image | None:
    """Lay a stored heat map over its thumbnail, as the page does."""
    if thumb is None or name is None:
        return None
    with Image.open(out / name) as heat:
        grown = heat.convert("RGBA").resize(thumb.size, Image.Resampling.BILINEAR)
    return Image.alpha_composite(thumb.convert("RGBA"), grown).convert("RGB")
