"""Cards: an image, what the models looked at in it, and the labelled images it resembles."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from clusterkit.auditing.explain import Encoded, Explainer
from clusterkit.auditing.page import Card, Match
from clusterkit.auditing.pictures import THUMB, file_stem, heat_picture, save_picture, thumbnail
from clusterkit.data.contents import frame_of, names_of
from clusterkit.data.files import inside_root
from clusterkit.data.imageio.read import decode, to_array
from clusterkit.data.manifest import read_identified
from clusterkit.errors import DataError
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

# Labelled images that a card shows at most.
MATCHES = 3

# Cards drawn in one forward pass.
_BATCH = 16

# Bytes of labelled images' maps that are kept.
_KEPT_BYTES = 256_000_000


@dataclass
class Seen:
    """An image as the models see it.

    Attributes
    ----------
    pixels : (S, S, 3) uint8
    shape : (width, height)
        Of its thumbnail.
    thumb : str
        Path of the thumbnail relative to the page.
    encoded : Encoded or None
        Of a labelled image: what the Siamese model sees.
    """

    pixels: np.ndarray
    shape: tuple[int, int]
    thumb: str
    encoded: Encoded | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        maps = self.encoded.siamese if self.encoded else []
        return self.pixels.nbytes + sum(m.nbytes for m in maps)


@dataclass(frozen=True)
class Pair:
    """An image and the labelled image that the assignments name for it.

    Attributes
    ----------
    image : str
    query, exemplar : (S, S, 3) uint8
    label : int
        The labelled image's class.
    """

    image: str
    query: np.ndarray
    exemplar: np.ndarray
    label: int


class Artist:
    """Draws cards; a labelled image is read and encoded once for all the cards that show it.

    Parameters
    ----------
    predictor : Predictor
    method : {"cam", "gradcam"}
        See `audit.cam.contributions`.
    inputs : Path
        Where the batch's images are.
    out : Path
        Folder of the page.
    folder : str
        Where pictures go, relative to `out`.

    Attributes
    ----------
    features : dict
        Position in the table → pooled Siamese features (D,) of the cards drawn so far.
    pairs : list of Pair
        Of the cards that were to be kept (see `draw`).
    missing, changed, unmatched : int
        Images that were not found, those that have other bytes than when they were assigned, and
        labelled images that were not found.
    """

    def __init__(
        self, predictor: Predictor, method: str, inputs: Path, out: Path, folder: str
    ) -> None:
        self.predictor, self.run = predictor, predictor.run
        self.explainer = Explainer.of(predictor, method)
        self.inputs, self.out, self.folder = inputs, out, folder
        self.features: dict[int, torch.Tensor] = {}
        self.pairs: list[Pair] = []
        self.missing = self.changed = self.unmatched = 0
        self._keep: frozenset[int] = frozenset()
        self._rows = {name: row for row, name in enumerate(names_of(self.run.manifest))}
        self._labelled: OrderedDict[int, Seen | None] = OrderedDict()
        self._bytes = 0

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
            Assignments.
        chosen : (n,) int
        progress : callable
            Called with (stage, done, total).
        keep : iterable of int
            Rows whose pixels are kept in `pairs`.
        """
        self._keep = frozenset(int(row) for row in keep)
        for start in range(0, len(chosen), _BATCH):
            positions = chosen[start : start + _BATCH]
            rows = list(table.iloc[positions].itertuples(index=False))
            yield from self._draw_batch(positions, rows)
            progress("audit", start + len(rows), len(chosen))

    def _draw_batch(self, positions: np.ndarray, rows: list) -> list[Card]:
        opened = [self._open_query(row) for row in rows]
        known = [i for i, found in enumerate(opened) if found is not None]
        pictures: list[dict] = [{} for _ in rows]
        for i in known:
            pictures[i]["thumb"] = opened[i].thumb
        if known:
            self._draw_known([positions[i] for i in known], [rows[i] for i in known],
                             [opened[i] for i in known], [pictures[i] for i in known])  # fmt: skip
        return [card_of(row, found) for row, found in zip(rows, pictures, strict=True)]

    def _draw_known(self, positions, rows, queries: list[Seen], pictures: list[dict]) -> None:
        encoded = self.explainer.encode(np.stack([query.pixels for query in queries]))
        features = pool(encoded.siamese)
        self.features |= dict(zip(map(int, positions), features, strict=True))
        self._draw_classes(rows, queries, encoded, pictures)
        wanted = [self._matches(row, features[i : i + 1]) for i, row in enumerate(rows)]
        self._encode_labelled({row for found in wanted for row, _ in found if row is not None})
        pairs = [(i, k, row) for i, found in enumerate(wanted)
                 for k, (row, _) in enumerate(found) if self._labelled.get(row)]  # fmt: skip
        heats = self._pair_heats(encoded, pairs)
        for i, (row, query) in enumerate(zip(rows, queries, strict=True)):
            pictures[i]["matches"] = [
                self._match(row, query, k, found, heats.get((i, k)))
                for k, found in enumerate(wanted[i])
            ]
        labels = self.predictor.gallery.labels
        self.pairs += [
            Pair(rows[i].image, queries[i].pixels, self._labelled[row].pixels, int(labels[row]))
            for i, k, row in pairs if k == 0 and int(positions[i]) in self._keep
        ]  # fmt: skip

    def _draw_classes(self, rows, queries: list[Seen], encoded: Encoded, pictures) -> None:
        """Draw the classifier's CAM of the predicted label, where the run knows that label."""
        index = {label: i for i, label in enumerate(self.run.classes)}
        known = [i for i, row in enumerate(rows) if row.predicted_label in index]
        if not known:
            return
        classes = np.array([index[rows[i].predicted_label] for i in known])
        heats = self.explainer.class_heats(encoded.rows(known), classes, self._side)
        for i, heat in zip(known, heats, strict=True):
            picture = heat_picture(heat, queries[i].shape)
            pictures[i]["classifier_cam"] = self._save(picture, queries[i], "classifier-cam.png")

    @property
    def _side(self) -> int:
        return self.run.info.size

    def _matches(self, row, features: torch.Tensor) -> list[tuple[int | None, float | None]]:
        """Return the labelled images to show: rows of the manifest and their similarities.

        The first is the one that the assignments name. The last is of another class, where
        another was compared: what speaks against the label is evidence too.
        """
        if not row.nearest_image:
            return []
        first = self._rows.get(row.nearest_image)
        gallery, classes = self.predictor.gallery, self.run.classes
        gate = np.isin(classes, row.gate.split("|"))[gallery.labels] & gallery.exemplars
        rows = np.flatnonzero(gate)
        found = [(first, row.nearest_similarity)]
        if not len(rows) or first is None:
            return found
        logits = gallery.logits(features, rows)[0]
        order = np.argsort(-logits, kind="stable")
        # A copy of a match, under another name, would show the same picture twice.
        ids, ranked = self.run.manifest["image_id"].to_numpy(), []
        seen = {ids[first]}
        for place in order:
            if ids[rows[place]] not in seen:
                seen.add(ids[rows[place]])
                ranked.append(place)
        chosen = ranked[: MATCHES - 1]
        labels = gallery.labels[rows]
        own = {gallery.labels[first], *labels[chosen]}
        other = [p for p in ranked if labels[p] != gallery.labels[first]]
        if len(own) == 1 and other and chosen:
            chosen[-1] = other[0]
        similarity = self.predictor.calibration.fusion.similarity(logits[chosen])
        return found + [(int(rows[p]), float(s)) for p, s in zip(chosen, similarity, strict=True)]

    def _encode_labelled(self, rows: set[int]) -> None:
        """Read and encode labelled images that are not kept already."""
        new = sorted(row for row in rows if row not in self._labelled)
        opened = {row: self._open_labelled(row) for row in new}
        there = [row for row in new if opened[row] is not None]
        for start in range(0, len(there), _BATCH):
            part = there[start : start + _BATCH]
            encoded = self.explainer.encode(np.stack([opened[row].pixels for row in part]))
            for i, row in enumerate(part):
                maps = encoded.rows([i]).siamese
                opened[row].encoded = Encoded(maps, maps)
        for row in rows:
            if row in opened:
                self._labelled[row] = opened[row]
                self._bytes += opened[row].nbytes if opened[row] else 0
            self._labelled.move_to_end(row)
        while self._bytes > _KEPT_BYTES and len(self._labelled) > len(rows):
            _, dropped = self._labelled.popitem(last=False)
            self._bytes -= dropped.nbytes if dropped else 0

    def _pair_heats(self, encoded: Encoded, pairs: list[tuple[int, int, int]]) -> dict:
        """Return heat maps by (card, place): over the card's image, and over the match."""
        heats, labels = {}, self.predictor.gallery.labels
        for start in range(0, len(pairs), _BATCH):
            part = pairs[start : start + _BATCH]
            first = encoded.rows([i for i, _, _ in part])
            second = Encoded.joined([self._labelled[row].encoded for _, _, row in part])
            classes = labels[[row for _, _, row in part]]
            own, other = self.explainer.pair_heats(first, second, classes, self._side)
            heats |= {(i, k): found for (i, k, _), *found in zip(part, own, other, strict=True)}
        return heats

    def _match(self, row, query: Seen, place: int, found, heats) -> Match:
        number, similarity = found
        manifest = self.run.manifest
        name = row.nearest_image if place == 0 else names_of(manifest.iloc[[number]])[0]
        label = row.nearest_label if place == 0 else manifest["label"].iloc[number]
        labelled = self._labelled.get(number)
        cams = {}
        if heats is not None:
            own, other = heats
            cams["own_cam"] = self._save(
                heat_picture(own, query.shape), query, f"own-cam-{place + 1}.png"
            )
            cams["cam"] = self._save(
                heat_picture(other, labelled.shape), query, f"cam-{place + 1}.png"
            )
        return Match(name, label, _number(similarity), labelled and labelled.thumb, **cams)

    def _open_query(self, row) -> Seen | None:
        """Read the image of a row; one that is gone or unreadable leaves its place empty."""
        if row.status == "failed":
            return None
        frame = row.image_id.partition("#")[2]
        try:
            path = inside_root(self.inputs, row.image, "audit")
            data, identity = read_identified(path, frame or None)
            if row.image_id and identity != row.image_id:
                self.changed += 1
                log.info("no picture of %s: its bytes are not those that were assigned", row.image)
                return None
            return self._see(data, frame_of(row.image_id), file_stem(identity))
        except DataError as error:
            self.missing += 1
            log.info("no picture of %s: %s", row.image, error)
            return None

    def _open_labelled(self, number: int) -> Seen | None:
        row = self.run.manifest.iloc[number]
        try:
            data, _ = read_identified(self.run.find_image(row["image"]), row["frame"] or None)
            return self._see(data, int(row["frame"] or 0), f"labelled-{file_stem(row['image_id'])}")
        except DataError as error:
            self.unmatched += 1
            log.info("no picture of labelled %s: %s", row["image"], error)
            return None

    def _see(self, data: bytes, frame: int, name: str) -> Seen:
        how, size = self.run.config.image, self.run.info.size
        image = decode(data, size, how, frame)
        pixels = to_array(image, size, how.resize)
        # Decoded for a small model, a large image is too coarse for an eye.
        shown = image if 2 * size >= THUMB else decode(data, None, how, frame)
        small = thumbnail(shown, pixels, how.resize)
        path = f"{self.folder}/{name}-thumb.jpg"
        save_picture(small, self.out / path)
        return Seen(pixels, small.size, path)

    def _save(self, picture: Image.Image, query: Seen, kind: str) -> str:
        # Named by the bytes: the image's own name could be anything, even a path.
        path = f"{query.thumb.removesuffix('-thumb.jpg')}-{kind}"
        save_picture(picture, self.out / path)
        return path


def card_of(row, pictures: dict) -> Card:
    """Make a card of a row of the assignments and its pictures."""
    return Card(
        image=row.image,
        image_id=row.image_id,
        status=row.status,
        predicted_label=row.predicted_label,
        confidence=_number(row.confidence),
        label_set=_parts(row.label_set),
        classifier_label=row.classifier_label,
        classifier_probability=_number(row.classifier_probability),
        similarity=_number(row.similarity),
        gate=_parts(row.gate),
        nearest_image=row.nearest_image,
        nearest_label=row.nearest_label,
        nearest_similarity=_number(row.nearest_similarity),
        novelty_p=_number(row.novelty_p),
        cluster=None if pd.isna(row.cluster) else int(row.cluster),
        group=row.group,
        duplicate_of=row.duplicate_of,
        reason=row.reason,
        order=None if pd.isna(row.order) else int(row.order),
        **pictures,
    )


def _number(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _parts(text: str) -> list[str]:
    return text.split("|") if text else []
