"""All checks of one run's CAMs."""

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clusterkit.auditing.checks.cam_checks import CamChecks
from clusterkit.auditing.checks.curves import Score, centre_blob, curves, interval, random_heats
from clusterkit.auditing.checks.known_places import at_known_places, pointing_by_status
from clusterkit.auditing.checks.places import PairScore
from clusterkit.auditing.checks.weights import cascade
from clusterkit.auditing.explain import Encoded, Explainer, reference_images
from clusterkit.auditing.token_part import class_token_share, pair_token_share
from clusterkit.inference.predictor import Predictor
from clusterkit.models.forward import FLOAT32
from clusterkit.models.heads import pool
from clusterkit.models.networks import Networks, embed_all
from clusterkit.models.siamese import FactoredSiamese

# Too few images say nothing, and their intervals would look surer than they are.
_FEWEST = 4
# Images of more pixels are checked on half as many: the time is that of the forward passes.
_LARGE = 128
_REFERENCE = 24
_SCORES = ("pair", "class")


def check_cams(
    predictor: Predictor,
    queries: np.ndarray,
    exemplars: np.ndarray,
    classes: np.ndarray,
    places: np.ndarray | None = None,
    n: int = 16,
    seed: int = 0,
    exemplar_places: np.ndarray | None = None,
    explainer: Explainer | None = None,
    status: Sequence[str] = (),
) -> CamChecks:
    """Check the CAMs of a run on its own decisions; its networks stay as they are.

    Parameters
    ----------
    predictor : Predictor
    queries, exemplars : (N, S, S, 3) uint8
        Images, and the labelled image that each is compared with.
    classes : (N,) int
        Of the exemplars.
    places : (N, 4) or None
        Known place of each query's detail, NaN where it is unknown; see `places_of`.
    n : int
        Images that take part (half of them in deletion and insertion if S is above 128), drawn
        with `seed`. Known places are measured on all of them.
    seed : int
    exemplar_places : (N, 4) or None
        The same of each exemplar's detail.
    explainer : Explainer or None
        One that is there already; None: it is made.
    status : sequence of str
        Of the queries, for known places by status; empty: not known.

    Returns
    -------
    CamChecks. Its notes name the checks that were not possible.
    """
    if len(queries) == 0:
        return CamChecks(notes=["No image has a labelled image to be compared with."])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(queries))
    sides = (places, exemplar_places)
    placed = any(at is not None for at in sides)
    chosen = np.sort(order if placed else order[:n])
    queries, exemplars, classes = queries[chosen], exemplars[chosen], np.asarray(classes)[chosen]
    reference = reference_images(predictor.run, _REFERENCE)
    explainer = replace(explainer or Explainer.plain(predictor),
                        method=predictor.config.audit.method)  # fmt: skip
    pairs = _CheckedPairs(explainer, queries, exemplars, classes, reference)
    result = _counted(pairs, _lacks(len(reference[0]), len(predictor.run.classes), len(queries)))
    if len(queries) < _FEWEST:
        return result
    measured = pairs.rows(np.searchsorted(chosen, np.sort(order[:n])))
    correlation, floor = cascade(predictor.networks, measured.redrawn, seed)
    result = replace(result, correlation=correlation, floor=floor,
                     curves=_curves(measured, rng, seed))  # fmt: skip
    known = [None if at is None else np.asarray(at, float)[chosen] for at in sides]
    of = [*status] and [status[row] for row in chosen]
    return _with_places(result, pairs, known, of) if placed else result


def _lacks(reference: int, classes: int, queries: int) -> list[str]:
    """Say what cannot be checked, by the numbers of what there is."""
    notes = (
        [] if reference else ["The labelled images cannot be read: heat maps are measured from 0."]
    )
    if classes < 2:
        notes.append("There is one class: what tells it from others cannot be shown.")
    if queries < _FEWEST:
        notes.append(f"{queries} images are too few to check heat maps with.")
    return notes


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

    def rows(self, rows: np.ndarray) -> "_CheckedPairs":
        """Return some of the pairs (n,)."""
        some = copy(self)
        some.queries, some.exemplars = self.queries[rows], self.exemplars[rows]
        some.classes = self.classes[rows]
        first, second = self.encoded
        some.encoded = first.rows(rows), second.rows(rows)
        some.sides = self.sides[0][rows], self.sides[1][rows]
        some.heats = some.sides[0]
        return some

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


def _counted(pairs: _CheckedPairs, notes: list[str]) -> CamChecks:
    """Count images and empty CAMs, and measure what is left out of all of them."""
    explainer, (first, second), classes = pairs.explainer, pairs.encoded, pairs.classes
    token = {}
    if explainer.networks.encoder.tokens:
        of_pair = pair_token_share(explainer, first, second, classes)
        of_class = class_token_share(explainer, first, classes)
        token = {"pair": float(of_pair.mean()), "class": float(of_class.mean())}
    flat = pairs.heats.reshape(len(first), -1)
    empty = int((flat.max(1) <= flat.min(1)).sum())
    return CamChecks(len(first), empty=empty, token=token, notes=notes)


def _with_places(
    result: CamChecks,
    pairs: _CheckedPairs,
    known: list[np.ndarray | None],
    status: Sequence[str],
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
                   exemplar_placed=n_there, notes=notes,
                   places_by_status=pointing_by_status(pairs.sides, known, status, pairs.side),
                   )  # fmt: skip


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
    siamese, networks = explainer.siamese, explainer.networks
    u2, v2 = siamese.project(exemplars)

    @torch.no_grad()
    def score(images: np.ndarray) -> np.ndarray:
        encoded = embed_all(networks, images, explainer.device, precision=FLOAT32)
        u1, v1 = siamese.project(encoded.siamese)
        both = torch.relu(u1 + v2) + torch.relu(u2 + v1)
        pair = torch.sigmoid(both @ siamese.weight / 2 + siamese.bias)
        logits = networks.classifier_head(encoded.classifier.to(explainer.device)).cpu()
        by_class = torch.softmax(logits, 1)[torch.arange(len(images)), torch.as_tensor(classes)]
        return torch.stack([pair, by_class], 1).numpy()

    return score
