"""Evidence on a batch, read in parts: no step needs all arrays of all images at once."""

from collections.abc import Iterator, Mapping

import numpy as np

from clusterkit.methods.summation import PART

Part = tuple[slice, dict[str, np.ndarray]]


class Evidence:
    """The evidence on N images, in memory.

    `inference.journal.StoredEvidence` reads the same from disk.

    Parameters
    ----------
    arrays : mapping of (N, …) arrays
        As `Predictor.finish` gives them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def parts(self, *names: str) -> Iterator[Part]:
        """Yield (rows, arrays of these names) from the first rows to the last."""
        for start in range(0, len(self), PART):
            rows = slice(start, min(start + PART, len(self)))
            yield rows, {name: self._arrays[name][rows] for name in names}
