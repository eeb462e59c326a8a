"""What a run's models said of labelled images that they had not learned from."""

from dataclasses import dataclass

import numpy as np

from clusterkit.errors import RunError
from clusterkit.formats.run import Run


@dataclass(frozen=True)
class HeldOutRecord:
    """Held-out images of a run.

    Attributes
    ----------
    name : str
        Of the run's folder.
    classes : list of str
    ids : (N,) str
        Their image_id; an image that was labelled twice is there twice.
    labels : (N,) int
        Their labels when the run was fitted.
    probs : (N, K) float
        Probability of each class, of models that had not learned from the image (nor from its
        group, where whole groups could be held out).
    """

    name: str
    classes: list[str]
    ids: np.ndarray
    labels: np.ndarray
    probs: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Likeliest class (N,) int of each."""
        return self.probs.argmax(axis=1)

    @classmethod
    def of(cls, run: Run) -> "HeldOutRecord":
        """Read the record that a run keeps in its `calibration.json`.

        Raises
        ------
        RunError
            The record is damaged, or names images that the manifest does not have.
        """
        try:
            held = run.calibration["held_out"]
            rows, labels = np.asarray(held["rows"]), np.asarray(held["labels"])
            probs = np.asarray(held["probs"], dtype=float)
            if probs.shape != (len(rows), len(run.classes)) or len(labels) != len(rows):
                raise ValueError(f"probabilities of shape {probs.shape} for {len(rows)} images")
            ids = run.manifest["image_id"].to_numpy()[rows]
            labels = np.arange(len(run.classes))[labels]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RunError(
                f"the held-out images in {run.path / 'calibration.json'} cannot be read "
                f"({error!r}); fit the run again"
            ) from error
        return cls(run.path.name, run.classes, ids, labels, probs)
