"""What stands on a sheet: the evidence for one image, gathered from its run and its batch."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

import clusterkit
from clusterkit.auditing.batch import AuditBatch
from clusterkit.auditing.card_words import CardWords, ShownRecord, card_words
from clusterkit.auditing.evidence_pictures import CardPictures, picture_rows
from clusterkit.auditing.last_audit import MapsVerdict, maps_verdict
from clusterkit.auditing.summary import shown_record
from clusterkit.auditing.token_part import about_token
from clusterkit.data.files import ImageFolder
from clusterkit.data.frames import frame_of, names_of
from clusterkit.data.imageio.read import load_image, seen_by_model
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError
from clusterkit.inference.given import why_no_cams
from clusterkit.inference.predictor import Predictor


@dataclass(frozen=True)
class Sheet:
    """Contents of a sheet.

    Attributes
    ----------
    pictures : CardPictures
        The image's card and pictures.
    probs : (K,) float or None
        The classifier's probabilities; None where the image is not there.
    classes : list of str
    groups : list of str
        Of the labelled images in `pictures.matches`.
    threshold : float or None
        Confidence from which on the predicted label is assigned; None: never, or not promised.
    promise : str
        In words; where a person has checked the labels, what they found.
    words : CardWords
        What it says of the image, in the page's words.
    record : ShownRecord
        What its percentages rest on.
    lack, no_cams : str
        Why there is no picture of the image, and no CAM of any; "".
    left_out : str
        What the CAMs cannot show; "": nothing.
    origin : str
        Which run, of when, made by what.
    maps : MapsVerdict
        What the last audit of these assignments found of heat maps.
    """

    pictures: CardPictures
    probs: np.ndarray | None
    classes: list[str]
    groups: list[str]
    threshold: float | None
    promise: str
    words: CardWords
    record: ShownRecord
    lack: str
    origin: str
    no_cams: str = ""
    left_out: str = ""
    maps: MapsVerdict = field(default_factory=MapsVerdict)


def gather(
    predictor: Predictor, batch: AuditBatch, row: pd.DataFrame, source: Path | None = None
) -> Sheet:
    """Gather the contents of the sheet of one row.

    Parameters
    ----------
    row : DataFrame of one row of the batch's table
    source : Path or None
        Where the image is, if not where `assign` read it.
    """
    name, own = row["image"].iloc[0], row
    run, batch = predictor.run, batch.of_image(name)
    inputs = batch.inputs
    if source is not None:
        # A person has named it: it may itself be a link.
        source = source.resolve()
        inputs = ImageFolder(source.parent)
        own = row.assign(image=written_name(source.name))
    (pictures,) = picture_rows(predictor, own, inputs)
    probs, lack = None, ""
    if row["status"].iloc[0] == "failed":
        lack = "The image could not be read."
    elif pictures.thumb is None:
        # Without the folder: the sheet is passed on, and paths of a machine are nobody's business.
        lack = "The image is not where assign read it any more, or has changed since."
    elif not why_no_cams(run):
        probs = _probs(predictor, source or inputs.find(name, "audit"), row["image_id"].iloc[0])
    groups = dict(zip(names_of(run.manifest), run.manifest["group"], strict=True))
    # As it stands in the table, wherever its file was found; with what is shown beside it.
    shown = [found.match for found in pictures.matches]
    card = replace(pictures.card, image=name, matches=shown)
    record = shown_record(run, batch, len(predictor.calibration.correct))
    return Sheet(
        pictures=replace(pictures, card=card),
        probs=probs,
        classes=run.classes,
        groups=[groups.get(found.match.image, "") for found in pictures.matches],
        threshold=_threshold(batch, row["predicted_label"].iloc[0]),
        promise=batch.promise if batch.certificate is None else batch.certificate.words,
        words=card_words(card, record),
        record=record,
        lack=lack,
        origin=f"run {run.path.name!r}, fitted {run.info.created[:10]} · "
        f"{run.info.backbone} · clusterkit {clusterkit.__version__}",
        no_cams=why_no_cams(run),
        left_out=about_token(predictor.networks.encoder),
        maps=maps_verdict(run.path / "audit", batch, predictor.config.audit.method),
    )


def _probs(predictor: Predictor, path: Path | str, image_id: str) -> np.ndarray | None:
    how = predictor.run.config.image
    try:
        image = load_image(path, how.size, how, frame_of(image_id))
    except DataError:
        return None
    _, logits = predictor.features(seen_by_model(image, how)[None])
    return predictor.calibration.fusion.classifier_probs(logits)[0]


def _threshold(batch: AuditBatch, label: str) -> float | None:
    certificate = batch.certificate
    if certificate is not None and certificate.certified:
        threshold = certificate.least_confidence
    else:
        threshold = batch.record.threshold(label)
    return threshold if threshold is not None and 0 <= threshold <= 1 else None
