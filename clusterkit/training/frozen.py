"""Heads on the features of one encoder that is not trained: the strategy ``head``."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import torch
from scipy.special import log_softmax
from torch import nn

from clusterkit.config import AugmentConfig, Config
from clusterkit.data.labelled import Labelled
from clusterkit.encoders.backbone import Backbone
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.inference.scorer import Reduction
from clusterkit.methods.unit_likelihood import unit_weights
from clusterkit.models.forward import FLOAT32
from clusterkit.models.heads import create_head, create_linear_head
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.progress import Progress, within
from clusterkit.training.cached_features import embed_kept, encoding
from clusterkit.training.fold import fit_reduction
from clusterkit.training.history import History
from clusterkit.training.kept_heads import kept_head, rows_digest
from clusterkit.training.linear import LinearHeadFit, fit_linear_head
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.pool import embed_pool
from clusterkit.training.strategy import Refit, TrainingSet

# Mirror images, and how many of `flipped_views` each choice takes: the fewest first.
_ALL = AugmentConfig(flip_horizontal=True, flip_vertical=True)
_VIEWS = {"as they are": 1, "mirrored left to right": 2, "mirrored both ways": 4}

_SIAMESE_EPOCHS = 60


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """A linear classifier and a Siamese head on cached features; see `Strategy`.

    Made by `encoded` or, where the features are there already, by `given`.

    Attributes
    ----------
    labelled : Labelled
        N images.
    config : Config
    backbone : Backbone
    views : str
        The mirror images that are learned from.
    features : (V, N, D) float32 Tensor
        Of the labelled images and of these mirror images.
    pool : (M, D) float32 Tensor or None
    for_assign : (N, D) float32 Tensor or None
        Of the labelled images, encoded in `precision`; None: that is float32.
    precision : {"float32", "bfloat16"}
        Of the encoder in `assign`, see `Networks`.
    journal : KeepsNothing
        Keeps the heads.
    """

    labelled: Labelled
    config: Config
    backbone: Backbone
    views: str
    features: torch.Tensor
    pool: torch.Tensor | None
    for_assign: torch.Tensor | None = None
    precision: str = FLOAT32
    journal: KeepsNothing = field(default_factory=KeepsNothing)

    @classmethod
    def encoded(
        cls,
        training_set: TrainingSet,
        folds: np.ndarray,
        config: Config,
        precision: str,
        progress: Progress,
    ) -> "FrozenFeatures":
        """Encode the labelled images, their mirror images, and the pool.

        Parameters
        ----------
        training_set : TrainingSet
        folds : (N,) int
            The fold each image is held out in; -1: never.
        config : Config
        precision : {"float32", "bfloat16"}
        progress : callable
            Called with (stage, done, total) in images; the stages are embed and embed pool.
        """
        labelled, device = training_set.labelled, config.device
        features = training_set.features.views(allowed_views(config))
        journal = training_set.journal
        networks = encoding(training_set.backbone.encoder, device, precision)
        found = embed_pool(
            networks, training_set.pool, config, within(progress, "embed pool"), journal
        )
        pool = None if found is None else found.classifier
        strategy = cls.given(
            labelled, features, pool, folds, config, training_set.backbone, journal
        )
        if precision == FLOAT32:
            return strategy
        own = embed_kept(networks, labelled.images, device, within(progress, "embed"), journal)
        return replace(strategy, for_assign=own, precision=precision)

    @classmethod
    def given(
        cls,
        labelled: Labelled,
        features: torch.Tensor,
        pool: torch.Tensor | None,
        folds: np.ndarray,
        config: Config,
        backbone: Backbone,
        journal: KeepsNothing | None = None,
    ) -> "FrozenFeatures":
        """Take features in float32, and choose the mirror images to learn from.

        Parameters
        ----------
        labelled : Labelled
            N images, whose pixels are not used.
        features : (V, N, D) float32 Tensor
            Of the labelled images and their mirror images, in the order of `flipped_views`; of
            the images alone where no mirror images are known.
        pool : (M, D) float32 Tensor or None
        folds : (N,) int
            The fold each image is held out in; -1: never.
        config : Config
        backbone : Backbone
            The encoder that the features are of.
        journal : KeepsNothing or None
            Keeps the heads, and how well each choice did.
        """
        views, count = "as allowed", len(features)
        journal = journal or KeepsNothing()
        if config.augment.views == "auto":
            fits = {
                name: _kept_fit(journal, features[:most], labelled, folds, config.train.C)
                for name, most in _VIEWS.items()
                if most <= len(features)
            }
            views = max(fits, key=lambda name: fits[name])
            count = _VIEWS[views]
        return cls(labelled, config, backbone, views, features[:count], pool, journal=journal)

    def train(self, rows: np.ndarray, valid: np.ndarray, history: History) -> Networks:
        """Fit both heads on `rows`; nothing is validated, for no epoch is chosen."""
        config, train = self.config, self.config.train
        torch.manual_seed(config.seed)
        classifier = self._classifier(lambda: self._classifier_fit(rows)(), rows)
        fit = partial(
            fit_pair_head,
            self.features[:, rows],
            self.labelled.labels[rows],
            self.backbone.encoder.chains,
            train.siamese_epochs or _SIAMESE_EPOCHS,
            train.lr,
            train.weight_decay,
            config.seed,
            partial(history.add, "siamese"),
        )
        name = f"pairs-{len(self.features)}-{rows_digest(rows)}"
        empty = partial(create_head, 2 * self.features.shape[2], 1)
        siamese = kept_head(self.journal, name, empty, fit, history)
        networks = Networks(self.backbone.encoder, classifier, siamese, None, self.precision)
        return networks.to(config.device)

    def classifier_refits(
        self, networks: Networks, rows: np.ndarray, candidates: np.ndarray
    ) -> Refit:
        """Fit the linear head anew with some of `candidates` under the labels given."""
        pool = None if self.pool is None else self.pool[candidates]

        @cache
        def fit() -> LinearHeadFit:
            return self._classifier_fit(rows, pool)

        def refit(chosen: np.ndarray, labels: np.ndarray) -> Networks:
            told = rows, candidates[chosen], labels
            head = self._classifier(lambda: fit()(chosen, labels), *told)
            return replace(networks, classifier_head=head)

        return refit

    def embed(self, networks: Networks) -> Embeddings:
        """Features of the labelled images, not mirrored: the same for all networks."""
        return Embeddings(self.features[0], self.features[0])

    def embed_for_assign(self, networks: Networks) -> Embeddings | None:
        """Return `for_assign`, the same for all networks."""
        return None if self.for_assign is None else Embeddings(self.for_assign, self.for_assign)

    def embed_pool(self, networks: Networks) -> Embeddings | None:
        """Return `pool`, the same for all networks."""
        return None if self.pool is None else Embeddings(self.pool, self.pool)

    def shared_reduction(self) -> Reduction:
        """Return the reduction of all features, labelled and of the pool."""
        return fit_reduction(
            self.features[0], self.pool, self.backbone.encoder.chains, self.config.seed
        )

    def _classifier(self, fit: Callable[[], nn.Sequential], *told: np.ndarray) -> nn.Sequential:
        """Return the linear head that `fit` gives; rows and labels (n,) tell it from others."""
        name = f"linear-{self.precision}-{len(self.features)}-{rows_digest(*told)}"
        empty = partial(create_linear_head, self.features.shape[2], len(self.labelled.classes))
        return kept_head(self.journal, name, empty, fit)

    def _classifier_fit(self, rows: np.ndarray, pool: torch.Tensor | None = None) -> LinearHeadFit:
        data, chains = self.labelled, self.backbone.encoder.chains
        return LinearHeadFit(
            self.features[:, rows], data.labels[rows], data.prior, chains, self.config.train.C,
            pool, data.trust[rows],
        )  # fmt: skip


def allowed_views(config: Config) -> AugmentConfig:
    """Return the mirror images that features are wanted of: with ``auto`` all are tried."""
    return _ALL if config.augment.views == "auto" else config.augment


def _kept_fit(
    journal: KeepsNothing,
    features: torch.Tensor,
    data: Labelled,
    folds: np.ndarray,
    inverse_l2: float,
) -> float:
    """Return `_held_out_fit` as the journal has it; else compute it, and keep it there."""
    name = f"choice-{len(features)}"
    piece = journal.load(name)
    if piece is not None:
        return piece.values["fit"]
    fit = _held_out_fit(features, data, folds, inverse_l2)
    journal.keep(name, {}, {"fit": fit})
    return fit


def _held_out_fit(
    features: torch.Tensor, data: Labelled, folds: np.ndarray, inverse_l2: float
) -> float:
    """Mean log-likelihood, each unit counting once, of held-out images that are not mirrored."""
    total, weights = 0.0, unit_weights(data.units)
    for fold in np.unique(folds[folds >= 0]):
        train = np.flatnonzero(folds != fold)
        test = np.flatnonzero((folds == fold) & data.checked)
        head = fit_linear_head(features[:, train], data.labels[train], data.prior, [], inverse_l2)
        with torch.inference_mode():
            log_probs = log_softmax(head(features[0, test]).numpy(), axis=1)
        total += weights[test] @ log_probs[np.arange(len(test)), data.labels[test]]
    return float(total)
