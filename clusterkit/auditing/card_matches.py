"""Choice of the labelled images that a card shows."""

import numpy as np
import torch

from clusterkit.data.frames import names_of
from clusterkit.formats.assignment_rows import AssignmentRow
from clusterkit.inference.predictor import Predictor

# Labelled images that a card shows at most.
MATCHES = 3


class MatchChooser:
    """Chooser of the labelled images to show beside an image of a batch.

    Parameters
    ----------
    predictor : Predictor
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._rows = {name: row for row, name in enumerate(names_of(predictor.run.manifest))}

    def choose(
        self, row: AssignmentRow, features: torch.Tensor | None
    ) -> list[tuple[int | None, float | None]]:
        """Return rows of the manifest and their similarities in [0, 1], at most `MATCHES`.

        A copy has its original alone. Else the first is the one that the assignments name; None:
        the run does not have it. The last
        is of another class, where another was compared: what speaks against the label is
        evidence too.

        Parameters
        ----------
        row : AssignmentRow
        features : (1, D) or None
            Siamese features of the row's image; None: not known, and only the first is returned.
        """
        copied = self._rows.get(row.duplicate_of) if row.status == "duplicate" else None
        if copied is not None:
            return [(copied, None)]
        if not row.nearest_image:
            return []
        first = self._rows.get(row.nearest_image)
        nearest = (first, row.nearest_similarity)
        if features is None or first is None:
            return [nearest]
        gallery, classes = self._predictor.gallery, self._predictor.run.classes
        gate = np.isin(classes, row.gate.split("|"))[gallery.labels] & gallery.exemplars
        rows = np.flatnonzero(gate)
        if not len(rows):
            return [nearest]
        logits = gallery.logits(features, rows)[0]
        ranked = self._without_copies(first, rows, np.argsort(-logits, kind="stable"))
        chosen = ranked[: MATCHES - 1]
        labels = gallery.labels[rows]
        own = {gallery.labels[first], *labels[chosen]}
        other = [p for p in ranked if labels[p] != gallery.labels[first]]
        if len(own) == 1 and other and chosen:
            chosen[-1] = other[0]
        similarity = self._predictor.calibration.fusion.similarity(logits[chosen])
        return [nearest, *((int(rows[p]), float(s)) for p, s in
                           zip(chosen, similarity, strict=True))]  # fmt: skip

    def _without_copies(self, first: int, rows: np.ndarray, order: np.ndarray) -> list[int]:
        """Return positions in `rows` in the given order, each picture once and not the first's."""
        # A copy of a match, under another name, would show the same picture twice.
        ids = self._predictor.run.manifest["image_id"].to_numpy()
        ranked, taken = [], {ids[first]}
        for position in order.tolist():
            if ids[rows[position]] not in taken:
                taken.add(ids[rows[position]])
                ranked.append(position)
        return ranked
