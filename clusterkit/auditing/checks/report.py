"""All checks of one run's CAMs, and their results in plain words."""

import dataclasses
import math
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from clusterkit.auditing.checks.curves import Score, centre_blob, curves, interval, random_heats
from clusterkit.auditing.checks.known_places import at_known_places, known_place_rows
from clusterkit.auditing.checks.places import PairScore
from clusterkit.auditing.checks.weights import cascade
from clusterkit.auditing.explain import Encoded, Explainer, reference_images
from clusterkit.auditing.token_part import class_token_share, pair_token_share
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.models.networks import Networks
from clusterkit.models.siamese import FactoredSiamese

# Above this part of the way from the floor to 1, more of a CAM outlives the weights than not.
SURVIVES = 0.5
# Too few images say nothing, and their intervals would look surer than they are.
_FEWEST = 4
# Images of more pixels are checked on half as many: the time is that of the forward passes.
_LARGE = 128
_REFERENCE = 24
_SCORES = ("pair", "class")
_WORDS = {"pair": "similarity CAM", "class": "classifier CAM"}


@dataclass(frozen=True)
class CamChecks:
    """Results of the checks; see `check_cams`.

    Attributes
    ----------
    images : int
    empty : int
        Pairs whose CAM of the first image is the same everywhere.
    correlation : dict
        Stage → mean rank correlation of the pair CAMs with those where the weights are random
        down to that stage, -1 to 1.
    floor : float
        The same of CAMs of different images.
    curves : dict
        ``pair`` and ``class`` → images, deletion and insertion (areas under the probability,
        0 to 1) by order (cam, random, centre), and ``over_random`` and ``over_centre``: mean,
        low, high of the gain in insertion minus deletion, 95% by bootstrap over images.
    places, exemplar_places : dict
        Map → pointing, pointing_margin, energy, of the images and of the labelled image that each
        is compared with; empty: no place is known.
    placed, exemplar_placed : int
        Number of images, and of pairs, whose place is known.
    token : dict
        ``pair`` and ``class`` → mean share of the evidence that is the class token's, 0 to 1, see
        `pair_token_share`; empty: the encoder has none.
    notes : list of str
        Checks that were not possible, and why.
    """

    images: int = 0
    empty: int = 0
    correlation: dict[str, float] = field(default_factory=dict)
    floor: float = math.nan
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, dict[str, float]] = field(default_factory=dict)
    placed: int = 0
    exemplar_places: dict[str, dict[str, float]] = field(default_factory=dict)
    exemplar_placed: int = 0
    token: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def survives(self) -> float:
        """Share of the CAMs that outlives random weights: 0 at the floor, 1 if all does."""
        if not self.correlation or not self.floor < 1:
            return math.nan
        last = list(self.correlation.values())[-1]
        return (last - self.floor) / (1 - self.floor)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a value that is unknown is None."""
        return _plain(dataclasses.asdict(self) | {
            "survives": self.survives, "warnings": self.warnings(),
        })  # fmt: skip

    def warnings(self) -> list[str]:
        """Return a sentence for everything that should stop a person from trusting the CAMs."""
        found = []
        if self.images and self.empty * 2 > self.images:
            found.append(f"{self.empty} of {self.images} similarity CAMs are empty: the network "
                         "names no place that speaks for its label.")  # fmt: skip
        if self.survives > SURVIVES:
            found.append(
                f"The CAMs hardly depend on what was learned: with random weights they keep "
                f"{self.survives:.0%} of what tells them from each other. They show the picture, "
                "not the reason for the label."
            )
        for score, row in self.curves.items():
            low = row["over_random"][1]
            if not low > 0:
                found.append(
                    f"The {_WORDS[score]} is not shown to be better than a random map: hiding "
                    "what it marks does not clearly lower the score more than hiding other places."
                )
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, value, explanation) of every figure, for readers who don't program."""
        if not self.images:
            return [("Images checked", "0", " ".join(self.notes))]
        rows = [("Images checked", str(self.images), " ".join(self.notes))]
        if self.correlation:
            last = list(self.correlation.values())[-1]
            rows.append((
                "Depends on what was learned",
                _number(last),
                "is how alike the CAMs are before and after all weights are replaced by random "
                "numbers. 1 is the same, and then they would not show what was learned. CAMs of "
                f"different images are alike by {_number(self.floor)} anyway.",
            ))  # fmt: skip
        for score, row in self.curves.items():
            mean, low, high = row["over_random"]
            rows.append((
                f"Marks what counts: {_WORDS[score]}",
                f"{mean:+.2f}",
                f"(95% interval {low:+.2f} to {high:+.2f}; {row['over_centre'][0]:+.2f} over a map "
                "that marks the centre.) The places that the CAM marks are blurred first, or shown "
                "first: how much more the model's probability then falls or rises than in a random "
                "order of places. Above 0 is better than chance.",
            ))  # fmt: skip
        rows += known_place_rows("of the image", self.places, self.placed)
        rows += known_place_rows(
            "of the labelled image", self.exemplar_places, self.exemplar_placed
        )
        return rows


def check_cams(
    predictor: Predictor,
    queries: np.ndarray,
    exemplars: np.ndarray,
    classes: np.ndarray,
    places: np.ndarray | None = None,
    n: int = 16,
    seed: int = 0,
    exemplar_places: np.ndarray | None = None,
) -> CamChecks:
    """Check the CAMs of a run on its own decisions.

    The networks are copied where weights are changed; the run's stay as they are.

    Parameters
    ----------
    predictor : Predictor
    queries, exemplars : (N, S, S, 3) uint8
        Images, and the labelled image that each is compared with.
    classes : (N,) int
        The exemplars' class.
    places : (N, 4) or None
        Known place of each query's detail, NaN where it is unknown; see `places_of`.
    n : int
        Images that take part (half of them in deletion and insertion if S is above 128), drawn
        with `seed`.
    seed : int
    exemplar_places : (N, 4) or None
        The same of each exemplar's detail.

    Returns
    -------
    CamChecks. Its notes name the checks that were not possible.
    """
    if len(queries) == 0:
        return CamChecks(notes=["No image has a labelled image to be compared with."])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(queries))[:n])
    queries, exemplars, classes = queries[chosen], exemplars[chosen], np.asarray(classes)[chosen]
    images, labels = reference_images(predictor.run, _REFERENCE)
    explainer = replace(Explainer.plain(predictor), method=predictor.config.audit.method)
    pairs = _CheckedPairs(explainer, queries, exemplars, classes, (images, labels))
    notes = [] if len(images) else ["The labelled images cannot be read: CAMs are measured from 0."]
    if len(predictor.run.classes) < 2:
        notes.append("There is one class: what tells it from others cannot be shown.")
    result = _counted(pairs)
    if len(queries) < _FEWEST:
        notes.append(f"{len(queries)} images are too few to check CAMs with.")
        return replace(result, notes=notes)
    correlation, floor = cascade(predictor.networks, pairs.redrawn, seed)
    result = replace(result, correlation=correlation, floor=floor, notes=notes,
                     curves=_curves(pairs, rng, seed))  # fmt: skip
    if places is None and exemplar_places is None:
        return result
    return _with_places(result, pairs, [
        None if known is None else np.asarray(known, float)[chosen]
        for known in (places, exemplar_places)
    ])  # fmt: skip


class _CheckedPairs:
    """Pairs whose CAMs are checked, and their CAMs by other networks.

    Parameters
    ----------
    explainer : Explainer
    queries, exemplars : (N, S, S, 3) uint8
    classes : (N,) int
    reference : (uint8 (R, S, S, 3), int (R,))
        Labelled images that contributions are measured from, and their classes.
    """

    def __init__(
        self,
        explainer: Explainer,
        queries: np.ndarray,
        exemplars: np.ndarray,
        classes: np.ndarray,
        reference: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self.queries, self.exemplars, self.classes = queries, exemplars, classes
        self.reference, self.side = reference, queries.shape[1]
        self.explainer = explainer.measured_from(*reference)
        self.encoded = self._encode(self.explainer)
        self.sides = self._draw(self.explainer, *self.encoded)
        self.heats = self.sides[0]

    def redrawn(self, networks: Networks) -> np.ndarray:
        """Return the queries' pair CAMs by other networks of the same shape."""
        siamese = FactoredSiamese.from_head(networks.siamese_head)
        networks.to(self.explainer.device)
        other = replace(self.explainer, networks=networks, siamese=siamese)
        other = other.measured_from(*self.reference)
        return self._draw(other, *self._encode(other))[0]

    def _encode(self, explainer: Explainer) -> tuple[Encoded, Encoded]:
        return explainer.encode(self.queries), explainer.encode(self.exemplars)

    def _draw(
        self, explainer: Explainer, first: Encoded, second: Encoded
    ) -> tuple[np.ndarray, np.ndarray]:
        return explainer.pair_heats(first, second, self.classes, self.side)


def _counted(pairs: _CheckedPairs) -> CamChecks:
    """Count images and empty CAMs, and measure what is left out of all of them."""
    explainer, (first, second), classes = pairs.explainer, pairs.encoded, pairs.classes
    token = {}
    if explainer.networks.encoder.tokens:
        of_pair = pair_token_share(explainer, first, second, classes)
        of_class = class_token_share(explainer, first, classes)
        token = {"pair": float(of_pair.mean()), "class": float(of_class.mean())}
    flat = pairs.heats.reshape(len(first), -1)
    return CamChecks(len(first), empty=int((flat.max(1) <= flat.min(1)).sum()), token=token)


def _with_places(
    result: CamChecks, pairs: _CheckedPairs, known: list[np.ndarray | None]
) -> CamChecks:
    """Add how the CAMs of the queries and of the exemplars do at known places, (N, 4) each."""
    network = pairs.explainer.networks
    encoder = deepcopy(network.siamese_encoder or network.encoder).cpu().eval()
    score = PairScore(encoder, pairs.explainer.siamese)
    first, second = (pool(e.siamese) for e in pairs.encoded)
    # The logit is symmetric: either image may be the one that is explained.
    sides = ((pairs.queries, second), (pairs.exemplars, first))
    (places, n), (there, n_there) = (
        ({}, 0) if at is None else at_known_places(heats, images, others, at, score)
        for heats, (images, others), at in zip(pairs.sides, sides, known, strict=True)
    )
    notes = result.notes
    if not n + n_there:
        notes = [*notes, "No place of the images checked is known."]
    return replace(result, places=places, placed=n, exemplar_places=there,
                   exemplar_placed=n_there, notes=notes)  # fmt: skip


def _curves(pairs: _CheckedPairs, rng: np.random.Generator, seed: int) -> dict[str, dict[str, Any]]:
    n = len(pairs.queries)
    n = max(_FEWEST, n // 2) if pairs.side > _LARGE else n
    size, explainer = pairs.heats.shape[-1], pairs.explainer
    rows = np.arange(n)
    first, second = (e.rows(rows) for e in pairs.encoded)
    orders = {
        "pair": pairs.heats[:n],
        "class": explainer.class_heats(first, pairs.classes[:n], pairs.side),
        "random": random_heats(n, size, rng),
        "centre": np.repeat(centre_blob(size)[None], n, axis=0),
    }
    score = _probabilities(explainer, pool(second.siamese), pairs.classes[:n])
    measured = curves(pairs.queries[:n], orders, score)
    result = {}
    for i, name in enumerate(_SCORES):
        by_order = {"cam": measured[name], "random": measured["random"],
                    "centre": measured["centre"]}  # fmt: skip
        gain = {order: c.gain[:, i] for order, c in by_order.items()}
        result[name] = {
            "images": n,
            "deletion": {order: float(c.deletion[:, i].mean()) for order, c in by_order.items()},
            "insertion": {order: float(c.insertion[:, i].mean()) for order, c in by_order.items()},
            "over_random": interval(gain["cam"] - gain["random"], seed),
            "over_centre": interval(gain["cam"] - gain["centre"], seed),
        }
    return result


def _probabilities(explainer: Explainer, exemplars: torch.Tensor, classes: np.ndarray) -> Score:
    """Return a function of images: (N, 2), the Siamese probability and that of the class."""
    siamese, head = explainer.siamese, explainer.networks.classifier_head
    u2, v2 = siamese.project(exemplars)

    @torch.no_grad()
    def score(images: np.ndarray) -> np.ndarray:
        encoded = explainer.encode(images)
        u1, v1 = siamese.project(pool(encoded.siamese))
        both = torch.relu(u1 + v2) + torch.relu(u2 + v1)
        pair = torch.sigmoid(both @ siamese.weight / 2 + siamese.bias)
        logits = head(pool(encoded.classifier).to(explainer.device)).cpu()
        by_class = torch.softmax(logits, 1)[torch.arange(len(images)), torch.as_tensor(classes)]
        return torch.stack([pair, by_class], 1).numpy()

    return score


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "cannot be said"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
