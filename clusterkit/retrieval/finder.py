"""The article's `SimilarityFinder` over a run, and `similar`: the closest labelled images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from clusterkit.auditing.explain import Explainer
from clusterkit.auditing.pair_pictures import (
    PairRow,
    check_cams_picture,
    draw_pair,
    open_labelled,
    picture_pair,
)
from clusterkit.auditing.pictures import CAMS_OPTION, save_png
from clusterkit.config import Config, ImageConfig, takes_settings, with_settings
from clusterkit.data.features.vector_lookup import vector_of
from clusterkit.data.frames import names_of
from clusterkit.data.imageio.read import load_image, seen_by_model
from clusterkit.data.remote_places import local_place
from clusterkit.errors import ClusterkitError, ImageError
from clusterkit.formats.run import Run
from clusterkit.inference.given import Files, open_given, why_no_cams
from clusterkit.inference.predictor import Predictor
from clusterkit.retrieval.groups import similar_groups


class SimilarityFinder:
    """Finder of the labelled image that is most similar to a query.

    Parameters
    ----------
    run : Run or path
    config : Config or None
        None: the run's.
    features : path or sequence of path
        Of a run that was fitted on features: those of the queries.

    Attributes
    ----------
    ranking_ : DataFrame
        After `predict` or `rank`: similarity (in [0, 1], falling), label, image, group.
    predicted_class_ : str
        The classifier's class of the last query.

    Examples
    --------
    >>> finder = SimilarityFinder("runs/20260101-120000")  # doctest: +SKIP
    >>> finder.predict("query.png")  # doctest: +SKIP
    PosixPath('labeled/ring/p07-2.png')
    >>> finder.similar_cams().save("cams.png")  # doctest: +SKIP
    """

    def __init__(
        self, run: Run | Path | str, config: Config | None = None, features: Files = ()
    ) -> None:
        self.run = run if isinstance(run, Run) else Run.load(run)
        self._given = open_given(self.run, features)
        self._predictor = Predictor(self.run, self.run.config_with(config))

    def predict(self, image: Path | str, compare_n: int | None = 15) -> Path:
        """Return the file of the most similar labelled image.

        Parameters
        ----------
        image : path
        compare_n : int or None
            The article's: the first so many images of the predicted class. None: all images
            of all classes that the gate lets through.

        Raises
        ------
        ImageError
            The query cannot be read.
        ValueError
            `compare_n` is not positive.
        """
        if compare_n is not None and compare_n < 1:
            raise ValueError(f"compare_n = {compare_n} must be at least 1, or None for all")
        self.rank(image, compare_n=compare_n)
        return self.run.find_image(self.ranking_["image"].iloc[0])

    def rank(
        self, image: Path | str, within: str = "gate", compare_n: int | None = None
    ) -> pd.DataFrame:
        """Rank labelled images by similarity to a query, the most similar first.

        Parameters
        ----------
        image : path
        within : {"gate", "all"}
            Compare with the gated classes, or with all.
        compare_n : int or None
            If given: only the first so many of the predicted class.
        """
        features, logits = self._predictor.features(self._input_of(image)[None])
        probs = self._predictor.calibration.fusion.classifier_probs(logits)[0]
        best = int(probs.argmax())
        self.predicted_class_ = self.run.classes[best]
        labels = self._predictor.gallery.labels
        if compare_n is not None:
            rows = np.flatnonzero(labels == best)[:compare_n]
        elif within == "all":
            rows = np.arange(len(labels))
        else:
            gate = self._predictor.calibration.fusion.gate(logits)[0]
            rows = np.flatnonzero(gate[labels])
        with torch.inference_mode():
            pairs = self._predictor.gallery.rank(features, rows)
        order = np.argsort(-pairs, kind="stable")
        exemplars = self.run.manifest.iloc[rows[order]]
        self.ranking_ = pd.DataFrame(
            {
                "similarity": self._predictor.calibration.fusion.similarity(pairs[order]),
                "label": exemplars["label"].to_numpy(),
                "image": names_of(exemplars),
                "group": exemplars["group"].to_numpy(),
            }
        )
        return self.ranking_

    def _input_of(self, image: Path | str) -> np.ndarray:
        """Return what the networks take of a query: its pixels (S, S, 3), or its vector (D,)."""
        if self._given is not None:
            return vector_of(self._given, str(image))
        self._query = _open_query(image, self.run.config.image)
        return seen_by_model(self._query, self.run.config.image)

    def similar_cams(self, method: str = "cam") -> Image.Image:
        """Draw the last query and its most similar image, plain and with their CAMs.

        The CAMs show the places that speak for "the same class" in the Siamese model.
        Returns an RGB picture with the title "97.32% similarity".

        Raises
        ------
        ClusterkitError
            Nothing has been predicted yet, the labelled image is not there any more, or the run
            has no encoder.
        """
        if not hasattr(self, "ranking_"):
            raise ClusterkitError("no query yet; call predict(image) before similar_cams()")
        if lack := why_no_cams(self.run):
            raise ClusterkitError(lack)
        best = self.ranking_.iloc[0]
        match = open_labelled(self.run, best["image"])
        explainer = Explainer.of(self._predictor, method)
        picture = picture_pair(explainer, self.run, self._query, match, best["label"])
        names = ("query", f"{best['label']}: {best['image']}")
        return draw_pair(PairRow(picture, f"{best['similarity'] * 100:.2f}% similarity", names))


def _open_query(image: Path | str, how: ImageConfig) -> Image.Image:
    """Read a query: a file, or ``file#k`` for one of its frames."""
    path, frame = local_place(image, "a query is read"), 0
    file, _, number = str(image).rpartition("#")
    if not path.exists() and file and number.isdecimal() and len(number) < 10:
        path, frame = Path(file), int(number)
    try:
        return load_image(path, how=how, frame=frame)
    except ImageError as error:
        hint = ""
        if path.is_dir() or not path.exists():
            hint = "; give an image, or --by group for a folder or the name of a patient"
        raise ImageError(f"{image}: {error}{hint}") from error


@takes_settings
def similar(
    run: Run | Path | str,
    image: Path | str,
    *,
    k: int = 5,
    within: str = "gate",
    by: str = "image",
    cams: Path | str | None = None,
    config: Config | None = None,
    features: Files = (),
    **settings: Any,
) -> pd.DataFrame:
    """Return the k labelled images, or groups, most similar to an image.

    Parameters
    ----------
    image : path or str
        With ``by="group"`` also a folder of one patient's images, or the name of a group.
    k : int
    within : {"gate", "all"}
        Compare with the gated classes, or with all. Groups are always compared whole.
    by : {"image", "group"}
        ``group``: each group (patient) once; see `similar_groups`, which also counts outcomes.
    cams : path or None
        Where to write the picture of `SimilarityFinder.similar_cams`, or of `similar_groups`.
    features : path or sequence of path
        Of a run that was fitted on features: those of the image.
    **settings : the command's ``device`` and ``seed``

    Returns
    -------
    DataFrame: similarity, label, image, group; at most k rows, the most similar first. With
    ``by="group"`` more columns, those of `GroupMatches.table`; label and image are those of the
    group's image in the closest pair.

    Raises
    ------
    ClusterkitError
        The run or the image cannot be read, or `by="group"` and the run has no groups.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    config = with_settings(run.config_with(config), settings, "similar")
    if by == "group":
        found = similar_groups(run, image, k=k, cams=cams, config=config, features=features)
        return found.table
    check_cams_picture(run, cams)
    finder = SimilarityFinder(run, config, features)
    ranking = finder.rank(image, within=within)
    if cams is not None:
        save_png(finder.similar_cams(), Path(cams), CAMS_OPTION)
    return ranking.head(k).reset_index(drop=True)
