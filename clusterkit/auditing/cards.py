"""Cards: an image, its evidence for the label, and the labelled images it resembles."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterkit.auditing.card_images import (
    BATCH,
    CardImage,
    ImageFiles,
    LabelledImage,
    LabelledImages,
)
from clusterkit.auditing.card_matches import MatchChooser
from clusterkit.auditing.checks.hottest_places import HottestPlacesSeen
from clusterkit.auditing.explain import Encoded, Explainer
from clusterkit.auditing.originals import Originals
from clusterkit.auditing.page import Card, Match
from clusterkit.auditing.pictures import heat_picture
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.features.vector_lookup import row_of
from clusterkit.data.files import ImageFolder
from clusterkit.data.frames import names_of
from clusterkit.formats.assignment_rows import AssignmentRow, assignment_rows
from clusterkit.inference.given import why_no_cams
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.progress import Progress

# A copy is compared with itself, and what is like nothing labelled with nothing like it.
EXPLAINED = ("assigned", "reviewed", "review")

# A card's number in its batch and a match's number on the card → heat maps over the card's image
# and over the match.
PairHeats = dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ComparedPair:
    """An image and the labelled image that the assignments name for it.

    Attributes
    ----------
    image, labelled : str
        Their names.
    query, exemplar : (S, S, 3) uint8
    label : int
        The labelled image's class.
    status : str
        The image's.
    """

    image: str
    labelled: str
    query: np.ndarray
    exemplar: np.ndarray
    label: int
    status: str


@dataclass(frozen=True)
class _Drawing:
    """Row whose image is there: its position in the table, image, and pictures so far."""

    position: int
    row: AssignmentRow
    query: CardImage
    pictures: dict[str, Any]


class CardDrawer:
    """Drawer of cards; a labelled image is read and encoded once for all cards that show it.

    Parameters
    ----------
    predictor : Predictor
    method : {"cam", "gradcam"}
        See `cam.contributions`.
    inputs : ImageFolder
        Folder of the batch's images.
    out : Path
        Folder of the page.
    folder : str
        Folder of the pictures, relative to `out`.
    given : FeatureTable or None
        Of a run on given features, those of the batch's images; None: they are not there, and
        cards show the closest labelled image alone.
    originals : Originals or None
        Of the focus view; None: thumbnails alone.

    Attributes
    ----------
    files : ImageFiles
        Counts the images that could not be shown.
    features : dict
        Position in the table → pooled Siamese features (D,) of the cards drawn so far.
    pairs : list of ComparedPair
        Of the cards that were to be kept (see `draw`).
    hottest : HottestPlacesSeen
        Where the hottest places lie, of the cards with one of the statuses `EXPLAINED`.
    """

    def __init__(
        self,
        predictor: Predictor,
        method: str,
        inputs: ImageFolder,
        out: Path,
        folder: str,
        given: FeatureTable | None = None,
        originals: Originals | None = None,
    ) -> None:
        self.predictor, self.run, self._given = predictor, predictor.run, given
        has_encoder = not why_no_cams(self.run)
        self.explainer = Explainer.of(predictor, method) if has_encoder else None
        self.files = ImageFiles(self.run, inputs, out, folder, originals)
        self.features: dict[int, torch.Tensor] = {}
        self.pairs: list[ComparedPair] = []
        self.hottest = HottestPlacesSeen()
        self._keep: frozenset[int] = frozenset()
        self._labelled = LabelledImages(self.files, self.explainer)
        self._matches = MatchChooser(predictor)

    def draw(
        self,
        table: pd.DataFrame,
        chosen: np.ndarray,
        progress: Progress,
        keep: Iterable[int] = (),
    ) -> Iterator[Card]:
        """Yield the cards of the chosen rows, in order.

        Parameters
        ----------
        table : DataFrame
            Assignments; their index is their position among all.
        chosen : (n,) int
        progress : callable
            Called with (stage, done, total).
        keep : iterable of int
            Rows whose pixels are kept in `pairs`.
        """
        self._keep = frozenset(int(row) for row in keep)
        for start in range(0, len(chosen), BATCH):
            positions = chosen[start : start + BATCH]
            rows = list(assignment_rows(table.loc[positions]))
            yield from self._draw_batch(positions, rows)
            progress("audit", start + len(rows), len(chosen))
        # The checks of the CAMs come next, and need room of their own.
        self._labelled.forget()

    def _draw_batch(self, positions: np.ndarray, rows: list[AssignmentRow]) -> list[Card]:
        pictures: list[dict[str, Any]] = [{} for _ in rows]
        drawings = []
        for position, row, own in zip(positions.tolist(), rows, pictures, strict=True):
            query = self.files.open_query(row)
            if query is not None:
                own["thumb"], own["full"] = query.thumb, query.full
                drawings.append(_Drawing(position, row, query, own))
            if self.explainer is None:
                own["matches"] = self._plain_matches(position, row)
        if drawings and self.explainer is not None:
            self._draw_cams(drawings, self.explainer)
        return [card_of(row, own) for row, own in zip(rows, pictures, strict=True)]

    def _plain_matches(self, position: int, row: AssignmentRow) -> list[Match]:
        """Return a card's matches without CAMs, as far as its features tell them."""
        features = None
        if self._given is not None and row.status != "failed":
            found = row_of(self._given, row.image, "", row.image_id)
            if found >= 0:
                features = torch.from_numpy(self._given.vectors[0, found].copy())
                self.features[position] = features
        chosen = self._matches.choose(row, None if features is None else features[None])
        labelled = self._labelled.load({number for number, _ in chosen if number is not None})
        return [
            self._plain_match(row, k, number, similarity, labelled)
            for k, (number, similarity) in enumerate(chosen)
        ]

    def _draw_cams(self, drawings: list[_Drawing], explainer: Explainer) -> None:
        encoded = explainer.encode(np.stack([d.query.pixels for d in drawings]))
        features = pool(encoded.siamese)
        self.features |= {d.position: f for d, f in zip(drawings, features, strict=True)}
        self._draw_classes(drawings, encoded, explainer)
        matches = [self._matches.choose(d.row, features[i : i + 1]) for i, d in enumerate(drawings)]
        wanted = {row for chosen in matches for row, _ in chosen if row is not None}
        labelled = self._labelled.load(wanted)
        pairs = [(i, k, row) for i, chosen in enumerate(matches)
                 for k, (row, _) in enumerate(chosen)
                 if row is not None and row in labelled]  # fmt: skip
        heats = self._pair_heats(encoded, pairs, labelled, explainer)
        for i, drawing in enumerate(drawings):
            drawing.pictures["matches"] = [
                self._match(drawing, k, row, similarity, labelled, heats.get((i, k)))
                for k, (row, similarity) in enumerate(matches[i])
            ]
        self._note_places(drawings, pairs, labelled, heats)
        labels = self.predictor.gallery.labels
        for i, k, row in pairs:
            if k == 0 and drawings[i].position in self._keep:
                own, other = drawings[i], labelled[row]
                self.pairs.append(ComparedPair(
                    own.row.image, names_of(self.run.manifest.iloc[[row]])[0],
                    own.query.pixels, other.pixels, int(labels[row]), own.row.status,
                ))  # fmt: skip

    def _note_places(
        self,
        drawings: list[_Drawing],
        pairs: Sequence[tuple[int, int, int]],
        labelled: dict[int, LabelledImage],
        heats: PairHeats,
    ) -> None:
        """Note where the hottest places of both images of each card's first pair lie."""
        own = [(i, row) for i, k, row in pairs if k == 0 and drawings[i].row.status in EXPLAINED]
        status = [drawings[i].row.status for i, _ in own]
        both = [heats[i, 0] for i, _ in own]
        queries = [drawings[i].query.pixels for i, _ in own]
        others = [labelled[row].pixels for _, row in own]
        self.hottest.add("image", [heat for heat, _ in both], queries, status)
        self.hottest.add("labelled", [heat for _, heat in both], others, status)

    def _draw_classes(
        self, drawings: list[_Drawing], encoded: Encoded, explainer: Explainer
    ) -> None:
        """Draw the classifier's CAM of the predicted label, where the run has that label."""
        index = {label: i for i, label in enumerate(self.run.classes)}
        rows = [i for i, d in enumerate(drawings) if d.row.predicted_label in index]
        if not rows:
            return
        classes = np.array([index[drawings[i].row.predicted_label] for i in rows])
        heats = explainer.class_heats(encoded.rows(rows), classes, self._side)
        known = [(heat, drawings[i]) for i, heat in zip(rows, heats, strict=True)
                 if drawings[i].row.status in EXPLAINED]  # fmt: skip
        self.hottest.add("class", [heat for heat, _ in known], [d.query.pixels for _, d in known],
                         [d.row.status for _, d in known])  # fmt: skip
        for i, heat in zip(rows, heats, strict=True):
            query = drawings[i].query
            picture = heat_picture(heat, query.shape)
            drawings[i].pictures["classifier_cam"] = self.files.save(
                picture, query, "classifier-cam.png"
            )

    @property
    def _side(self) -> int:
        return self.run.info.size

    def _pair_heats(
        self,
        encoded: Encoded,
        pairs: Sequence[tuple[int, int, int]],
        labelled: dict[int, LabelledImage],
        explainer: Explainer,
    ) -> PairHeats:
        """Return the heat maps of pairs (card, match, row of the manifest)."""
        heats: PairHeats = {}
        labels = self.predictor.gallery.labels
        for start in range(0, len(pairs), BATCH):
            part = pairs[start : start + BATCH]
            first = encoded.rows([i for i, _, _ in part])
            maps = (labelled[row].encoded for _, _, row in part)
            second = Encoded.joined([m for m in maps if m is not None])
            classes = labels[[row for _, _, row in part]]
            own, other = explainer.pair_heats(first, second, classes, self._side)
            heats |= {(i, k): (a, b) for (i, k, _), a, b in zip(part, own, other, strict=True)}
        return heats

    def _match(
        self,
        drawing: _Drawing,
        k: int,
        number: int | None,
        similarity: float | None,
        labelled: dict[int, LabelledImage],
        heats: tuple[np.ndarray, np.ndarray] | None,
    ) -> Match:
        """Make match k of a card: the labelled image in a row of the manifest."""
        plain = self._plain_match(drawing.row, k, number, similarity, labelled)
        image = None if number is None else labelled.get(number)
        if image is None or heats is None:
            return plain
        query = drawing.query
        own = self.files.save(heat_picture(heats[0], query.shape), query, f"own-cam-{k + 1}.png")
        cam = self.files.save(heat_picture(heats[1], image.shape), query, f"cam-{k + 1}.png")
        return replace(plain, cam=cam, own_cam=own)

    def _plain_match(
        self,
        row: AssignmentRow,
        k: int,
        number: int | None,
        similarity: float | None,
        labelled: dict[int, LabelledImage],
    ) -> Match:
        """Make match k of a card without its heat maps."""
        name, label = row.nearest_image, row.nearest_label
        if number is not None and (k > 0 or row.status == "duplicate"):
            own = self.run.manifest.iloc[[number]]
            name, label = names_of(own)[0], own["label"].iloc[0]
        image = None if number is None else labelled.get(number)
        if image is None:
            return Match(name, label, similarity)
        return Match(name, label, similarity, image.thumb, full=image.full)


def card_of(row: AssignmentRow, pictures: dict[str, Any]) -> Card:
    """Make a card of a row of the assignments and its pictures."""
    values = vars(row) | {"label_set": _parts(row.label_set), "gate": _parts(row.gate)}
    return Card(**values, **pictures)


def _parts(text: str) -> list[str]:
    return text.split("|") if text else []
