"""Mixed precision: bfloat16 for clear calls, float32 again for close ones.

Rounding to bfloat16 moves an image's log-odds a little. That never matters where one class is
clearly likelier than the next; where it could decide, the image is encoded once more in float32.
Close calls are found before the class proportions of the input are known. Only images that these
proportions move to the border of two classes may then be decided by rounding.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clusterkit.errors import RunError, shown
from clusterkit.models.forward import BFLOAT16, FLOAT32

# A call is close within so many root mean squares of what rounding changes.
_SPREAD = 3.0
# Where class proportions move the border, about a fifth as many labels as calls are close hang on
# rounding all the same: 0.5% of all at this share (malaria, 100 labels a class: 5.5% close, 0.53%).
_MOST_CLOSE = 0.03
# Part of the clear calls whose label may differ all the same.
_OTHER_LABELS = 0.005

_LEAST_PROB = 1e-12
# Log-odds of 99.3%: the change by rounding is measured below it.
_CERTAIN = 5.0


@dataclass(frozen=True)
class Precision:
    """Precision of the encoder, and the margin below which images are encoded again in float32.

    Attributes
    ----------
    used : {"float32", "bfloat16"}
        Precision of the first encoding.
    close : float
        Log-odds between the two likeliest classes below which a call is close.
    images : int
        Held-out images that this was measured on.
    close_share : float in [0, 1]
        Part of them whose call was close.
    other_labels : int
        Clear calls among them with another label than in float32.
    """

    used: str = FLOAT32
    close: float = 0.0
    images: int = 0
    close_share: float = 0.0
    other_labels: int = 0

    @classmethod
    def compared(cls, used: str, quick: np.ndarray, plain: np.ndarray) -> "Precision":
        """Precision as measured on probabilities (N, K) of the same images, N ≥ 1, in both.

        A call is close below three root mean squares of the change of the log-odds by rounding.

        Parameters
        ----------
        used : {"float32", "bfloat16"}
            Precision of `quick`.
        quick, plain : (N, K) float, rows sum to 1
            `plain` in float32.
        """
        rows = np.arange(len(quick))[:, None]
        pair = np.argsort(-quick, axis=1, kind="stable")[:, :2]
        odds = [np.log(np.maximum(probs[rows, pair], _LEAST_PROB)) for probs in (quick, plain)]
        quick_margin, plain_margin = (o[:, 0] - o[:, -1] for o in odds)
        # Beyond this no rounding could decide, and saturated log-odds differ by a lot.
        open_ = np.abs(quick_margin) < _CERTAIN
        change = (quick_margin - plain_margin)[open_]
        close = _SPREAD * float(np.sqrt((change**2).mean())) if open_.any() else 0.0
        clear = quick_margin >= close
        others = int((quick.argmax(axis=1) != plain.argmax(axis=1))[clear].sum())
        return cls(used, close, len(quick), float(1 - clear.mean()), others)

    @property
    def agrees(self) -> bool:
        """True where labels stay those of float32, whatever the class proportions."""
        return self.close_share <= _MOST_CLOSE and self.other_labels <= _OTHER_LABELS * self.images

    def is_close(self, probs: np.ndarray) -> np.ndarray:
        """Close calls (N,) bool among probabilities (N, K): images to be encoded again."""
        if self.used == FLOAT32 or probs.shape[1] < 2:
            return np.zeros(len(probs), dtype=bool)
        top = np.sort(probs, axis=1)[:, -2:]
        margin = np.log(np.maximum(top, _LEAST_PROB))
        # NaN is not clear either.
        return ~(margin[:, 1] - margin[:, 0] >= self.close)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Precision":
        """Read what `to_dict` wrote.

        Raises
        ------
        RunError
            It is not what `to_dict` wrote.
        """
        try:
            found = cls(**values)
            # Not a number is below nothing, and would quietly let every call pass for clear.
            if found.used in (FLOAT32, BFLOAT16) and float(found.close) >= 0:
                return found
        except (TypeError, ValueError):
            pass
        raise RunError(
            f"the run's run.json is damaged (precision: {shown(str(values))}); fit the run again"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `run.json`."""
        return asdict(self)
