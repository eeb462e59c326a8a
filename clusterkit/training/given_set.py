"""Features that were given in the place of an encoder: of the labelled images and of the pool."""

from dataclasses import dataclass

import numpy as np
import torch

from clusterkit.config import AugmentConfig
from clusterkit.data.features.table import FeatureTable


@dataclass(frozen=True, eq=False)
class GivenSet:
    """Features to fit heads on.

    Attributes
    ----------
    labelled : (V, N, D) float32 Tensor
        Of the labelled images and, with V = 4, of their mirror images.
    pool : (M, D) float32 Tensor or None
        Of unlabelled images; None: there are none.
    """

    labelled: torch.Tensor
    pool: torch.Tensor | None

    @classmethod
    def of(cls, table: FeatureTable, labelled: np.ndarray, pool: np.ndarray) -> "GivenSet":
        """Take rows (N,) and (M,) of a table."""
        views = torch.from_numpy(np.ascontiguousarray(table.vectors[:, labelled]))
        return cls(views, torch.from_numpy(table.vectors[0, pool]) if len(pool) else None)

    def views(self, augment: AugmentConfig) -> torch.Tensor:
        """Return features (V', N, D) of the views that are allowed and there.

        They come in the order of `flipped_views`: as they are, left to right, up and down, both.
        """
        across, upright = augment.flip_horizontal, augment.flip_vertical
        allowed = [True, across, upright, across and upright]
        return self.labelled[[v for v in range(len(self.labelled)) if allowed[v]]]
