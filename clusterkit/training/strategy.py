"""The interface of a training strategy, and the data that all strategies train from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.features.table import FeatureTable
from clusterkit.data.labelled import Labelled
from clusterkit.data.loading import ImageRef, image_refs
from clusterkit.encoders.backbone import Backbone
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.inference.scorer import Reduction
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.progress import Progress, within
from clusterkit.training.cached_features import CachedFeatures
from clusterkit.training.given_set import GivenSet
from clusterkit.training.history import History
from clusterkit.training.pool import pool_rows


@dataclass(frozen=True)
class TrainingSet:
    """Labelled images, the pool, and the encoder that training starts from.

    Attributes
    ----------
    labelled : Labelled
        N images.
    pool : list of (path, frame)
        Where the unlabelled images are.
    backbone : Backbone
    features : CachedFeatures
        Of the backbone and the labelled images, shared by all strategies and folds.
    given : GivenSet or None
        Features that are given in the place of the backbone's.
    journal : KeepsNothing
        Where what takes long is kept.
    """

    labelled: Labelled
    pool: list[ImageRef]
    backbone: Backbone
    features: CachedFeatures
    given: GivenSet | None = None
    journal: KeepsNothing = field(default_factory=KeepsNothing)

    @classmethod
    def of(
        cls,
        manifest: pd.DataFrame,
        labelled: Labelled,
        backbone: Backbone,
        config: Config,
        progress: Progress,
        table: FeatureTable | None = None,
        journal: KeepsNothing | None = None,
    ) -> "TrainingSet":
        """Choose the pool among the unlabelled rows of a manifest; `config.device` is there.

        With a table, rows of the manifest and of `labelled` have their `vector` in it.
        """
        pool = pool_rows(manifest, labelled, config)
        journal = journal or KeepsNothing()
        features = CachedFeatures(
            backbone.encoder, labelled.images, config.device, within(progress, "embed"), journal
        )
        given = None
        if table is not None:
            vectors = (rows["vector"].to_numpy(int) for rows in (labelled.rows, pool))
            given = GivenSet.of(table, *vectors)
        return cls(labelled, image_refs(pool), backbone, features, given, journal)

    def taking(self, kept: np.ndarray) -> "TrainingSet":
        """Return the set with the labelled images of a mask (N,) bool alone."""
        labelled, given = self.labelled.take(kept), self.given
        if given is not None:
            given = replace(given, labelled=given.labelled[:, kept])
        return replace(self, labelled=labelled, given=given,
                       features=self.features.taking(kept, labelled.images))  # fmt: skip


class Strategy(Protocol):
    """From labelled images to networks, and to the features that these give."""

    @property
    def views(self) -> str:
        """The mirror images that are learned from, as the run's decisions name them."""

    def train(self, rows: np.ndarray, valid: np.ndarray, history: History) -> Networks:
        """Train on `rows` (n,), always from the same start; `history` gets the losses.

        The held-out rows `valid` are only measured on, never learned from or stopped by.
        """

    def embed(self, networks: Networks) -> Embeddings:
        """Return features of the labelled images in float32."""

    def embed_for_assign(self, networks: Networks) -> Embeddings | None:
        """Return features of the labelled images in the precision of `assign`.

        None: that is float32 too.
        """

    def embed_pool(self, networks: Networks) -> Embeddings | None:
        """Return features of the readable images of the pool; None: there are none."""

    def shared_reduction(self) -> Reduction | None:
        """Return the one reduction of all models' features; None: each model has its own."""


Refit = Callable[[np.ndarray, np.ndarray], Networks]


@runtime_checkable
class RefitsClassifier(Protocol):
    """A strategy whose classifier can be fitted anew with images of the pool."""

    def classifier_refits(
        self, networks: Networks, rows: np.ndarray, candidates: np.ndarray
    ) -> Refit:
        """Return a function that refits the classifier of networks that were trained on `rows`.

        Of `candidates` (M,), rows of the pool, it gets which (m,) join, and under which labels.
        """
