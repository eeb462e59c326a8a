"""CAMs of a run's decisions: images are encoded once, then any pair or class is explained.

Contributions are measured from an average picture of the *other* classes, not from 0: an empty
place does not give zeros, and what is measured from 0 is mostly what all pictures share (on the
demo the peak then lies on the class's detail half as often; see `benchmarks.cams`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from clusterkit.auditing import cam
from clusterkit.data.frames import names_of
from clusterkit.data.imageio.read import seen_by_model
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.run import Run
from clusterkit.inference.given import why_no_cams
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.models.networks import Networks
from clusterkit.models.siamese import FactoredSiamese

# Pixels a side of a heat map: more than any map has places, and cheap to draw and keep.
SIZE = 64
# Labelled images that the average picture is made of.
REFERENCE_IMAGES = 48
# With more classes one of them hardly changes the average, and leaving each out costs memory.
_CLASSES_APART = 16
_BATCH = 16


@dataclass(frozen=True)
class Encoded:
    """Maps of B images, each depth (B, C_d, h_d, w_d): the classifier's and the Siamese model's.

    Where both models share an encoder, both are the same tensors.
    """

    classifier: list[torch.Tensor]
    siamese: list[torch.Tensor]

    def __len__(self) -> int:
        return len(self.siamese[0])

    def rows(self, rows: np.ndarray | list[int]) -> "Encoded":
        """Return the images at these positions (B',), in this order."""
        return self._each(lambda maps: [m[torch.as_tensor(rows, dtype=torch.long)] for m in maps])

    @classmethod
    def joined(cls, parts: "list[Encoded]") -> "Encoded":
        """Return the images of several, one after the other."""
        siamese = [torch.cat(depth) for depth in zip(*(p.siamese for p in parts), strict=True)]
        if all(p.classifier is p.siamese for p in parts):
            return cls(siamese, siamese)
        classifier = [
            torch.cat(depth) for depth in zip(*(p.classifier for p in parts), strict=True)
        ]
        return cls(classifier, siamese)

    def _each(self, change: Callable[[list[torch.Tensor]], list[torch.Tensor]]) -> "Encoded":
        siamese = change(self.siamese)
        shared = self.classifier is self.siamese
        return Encoded(siamese if shared else change(self.classifier), siamese)


@dataclass(frozen=True)
class Average:
    """Average maps of labelled images, for each class without that class's own.

    Attributes
    ----------
    maps : list of (R, C_d, h_d, w_d)
    tops : list of (R, C_d)
        Mean of the images' maxima, which is not the maximum of their mean.
    row : dict
        Class → row; what is not in it takes the last row: the average of all.
    """

    maps: list[torch.Tensor]
    tops: list[torch.Tensor]
    row: dict[int, int]

    @classmethod
    def of(cls, maps: list[torch.Tensor], labels: np.ndarray) -> "Average":
        """Average maps, each depth (N, C_d, h_d, w_d), N ≥ 1, of images with labels (N,)."""
        classes = np.unique(labels)
        apart = classes.tolist() if 1 < len(classes) <= _CLASSES_APART else []
        kept = [torch.as_tensor(labels != c) for c in apart]
        kept.append(torch.ones(len(labels), dtype=torch.bool))
        return cls(
            [torch.stack([depth[rows].mean(0) for rows in kept]) for depth in maps],
            [torch.stack([depth[rows].amax((2, 3)).mean(0) for rows in kept]) for depth in maps],
            {int(c): i for i, c in enumerate(apart)},
        )

    def of_classes(self, classes: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return maps and maxima of each depth to measure images of classes (B,) from."""
        rows = torch.as_tensor([self.row.get(int(c), len(self.maps[0]) - 1) for c in classes],
                               dtype=torch.long)  # fmt: skip
        return [(m[rows], t[rows]) for m, t in zip(self.maps, self.tops, strict=True)]


@dataclass(frozen=True)
class PairParts:
    """The Siamese logit of B pairs, taken apart exactly.

    ``logit = sum of first + sum of second + rest``, to rounding.

    Attributes
    ----------
    first, second : list of (B, h_d, w_d)
        Each depth's places of the first and of the second image, signed. Those of an image sum to
        how much the logit falls with the average picture in its place, the other image staying.
    rest : (B,)
        What no place can answer for: the logits with either image exchanged, less that of the
        pair. Measured from 0: biases.
    logit : (B,)
    """

    first: list[torch.Tensor]
    second: list[torch.Tensor]
    rest: torch.Tensor
    logit: torch.Tensor


@dataclass(frozen=True)
class Explainer:
    """Drawer of the CAMs of one run's networks.

    Attributes
    ----------
    networks : Networks
    siamese : FactoredSiamese
    device : torch.device
    offsets : tuple of float
        See `cam.field_offsets`, in pixels of the input.
    method : {"cam", "gradcam"}
    size : int
        Pixels a side of the heat maps.
    averages : (Average, Average) or None
        Of the classifier's maps and of the Siamese model's; None: measured from 0.
    """

    networks: Networks
    siamese: FactoredSiamese
    device: torch.device
    offsets: tuple[float, ...] = ()
    method: str = "cam"
    size: int = SIZE
    averages: tuple[Average, Average] | None = None

    @classmethod
    def of(cls, predictor: Predictor, method: str = "cam", size: int = SIZE) -> "Explainer":
        """Make one for a run, measured from an average of its exemplars.

        Where none of them can be read any more, contributions are measured from 0. A run on given
        features has no encoder, which is a ClusterkitError.
        """
        if lack := why_no_cams(predictor.run):
            raise ClusterkitError(lack)
        images, labels = reference_images(predictor.run)
        explainer = replace(cls.plain(predictor), method=method, size=size)
        return explainer.measured_from(images, labels)

    @classmethod
    def plain(cls, predictor: Predictor) -> "Explainer":
        """Make one for a run that measures from 0; no image is read."""
        offsets = cam.field_offsets(
            predictor.networks.siamese_encoder or predictor.networks.encoder
        )
        return cls(predictor.networks, predictor.gallery.siamese, predictor.device, offsets)

    def measured_from(self, images: np.ndarray, labels: np.ndarray) -> "Explainer":
        """Return one that measures from averages of uint8 images (N, S, S, 3); N = 0: from 0."""
        if not len(images):
            return replace(self, averages=None)
        encoded = self.encode(images)
        siamese = Average.of(encoded.siamese, labels)
        if encoded.classifier is encoded.siamese:
            return replace(self, averages=(siamese, siamese))
        return replace(self, averages=(Average.of(encoded.classifier, labels), siamese))

    def encode(self, images: np.ndarray) -> Encoded:
        """Encode uint8 RGB (N, S, S, 3), N ≥ 1; the result is on the CPU."""
        networks, parts = self.networks, []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            maps = cam.encode_maps(networks.encoder, batch, self.device)
            own = networks.siamese_encoder
            other = maps if own is None else cam.encode_maps(own, batch, self.device)
            parts.append(Encoded(maps, other))
        return Encoded.joined(parts) if len(parts) > 1 else parts[0]

    def class_heats(self, images: Encoded, classes: np.ndarray, side: int) -> np.ndarray:
        """Return classifier CAMs (B, size, size) in [0, 1] for classes (B,).

        Parameters
        ----------
        images : Encoded
            B images.
        classes : (B,) int
        side : int
            Pixels a side of the images, which offsets are in.
        """
        maps = images.classifier
        gradients = cam.class_gradients(self.networks.classifier_head, pool(maps), classes)
        reference = self.averages[0].of_classes(classes) if self.averages else None
        return self._heat(cam.contributions(maps, gradients, self.method, reference), side)

    def pair_heats(
        self,
        first: Encoded,
        second: Encoded,
        classes: np.ndarray,
        side: int,
        order: str = "both",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the Siamese CAMs (B, size, size) in [0, 1] of both images of B pairs.

        Parameters
        ----------
        first, second : Encoded
            B images each.
        classes : (B,) int
            The exemplar's class, which both are compared as. Contributions are measured from an
            average picture of the other classes.
        side : int
            Pixels a side of the images.
        order : {"both", "forward", "backward"}
            See `cam.pair_gradients`.
        """
        reference, usual = self._usual(classes)
        gradients = cam.pair_gradients(
            self.siamese, pool(first.siamese), pool(second.siamese), order, usual
        )
        heats = [
            self._heat(cam.contributions(e.siamese, g, self.method, reference), side)
            for e, g in zip((first, second), gradients, strict=True)
        ]
        return heats[0], heats[1]

    def pair_parts(
        self, first: Encoded, second: Encoded, classes: np.ndarray, order: str = "both"
    ) -> PairParts:
        """Take the logits of B pairs apart, whatever the method is; see `pair_heats`."""
        a, b = pool(first.siamese), pool(second.siamese)
        reference, usual = self._usual(classes)
        gradients = cam.pair_gradients(self.siamese, a, b, order, usual)
        logit = cam.pair_logits(self.siamese, a, b, order)
        if usual is None:
            rest = logit - (gradients[0] * a + gradients[1] * b).sum(1)
        else:
            rest = -logit + sum(cam.pair_logits(self.siamese, *pair, order)
                                for pair in ((usual, b), (a, usual)))  # fmt: skip
        of_first = cam.contributions(first.siamese, gradients[0], "cam", reference)
        of_second = cam.contributions(second.siamese, gradients[1], "cam", reference)
        return PairParts(of_first, of_second, rest, logit)

    def _usual(self, classes: np.ndarray) -> tuple[cam.Reference | None, torch.Tensor | None]:
        """Return maps that images of classes (B,) are measured from, and their features (B, D)."""
        if self.averages is None:
            return None, None
        reference = self.averages[1].of_classes(classes)
        tops, means = [t for _, t in reference], [m.mean((2, 3)) for m, _ in reference]
        return reference, torch.cat([*tops, *means], 1)

    def _heat(self, parts: list[torch.Tensor], side: int) -> np.ndarray:
        # A token is of the whole picture: it has a part in the logit, and no place.
        places = [parts[number] for number in self.networks.encoder.places]
        return cam.heat(places, self.size, [o * self.size / side for o in self.offsets])


def reference_images(run: Run, limit: int = REFERENCE_IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """Read exemplars of every class by turns, the same ones each time.

    Returns
    -------
    uint8 (N, S, S, 3) and their classes (N,); those that cannot be read are left out.
    """
    size, how = run.info.size, run.config.image
    labels, rng = run.labels, np.random.default_rng(run.info.seed)
    usable = run.gallery["exemplar"].numpy().astype(bool)
    queues = [rng.permutation(np.flatnonzero(usable & (labels == c))).tolist()
              for c in range(len(run.classes))]  # fmt: skip
    turns = [row for turn in range(limit) for row in (q[turn] for q in queues if turn < len(q))]
    names, images, found = names_of(run.manifest), [], []
    for row in turns[:limit]:
        try:
            image = run.open_image(names[row])
        except DataError:
            continue
        images.append(seen_by_model(image, how))
        found.append(labels[row])
    if not images:
        return np.zeros((0, size, size, 3), np.uint8), np.zeros(0, int)
    return np.stack(images), np.array(found)
