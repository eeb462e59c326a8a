"""One model of a cross-fitting, and its scores of the images that it holds out."""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from clusterkit.config import Config, EngineConfig
from clusterkit.data.labelled import Labelled
from clusterkit.inference.scorer import Reduction, Scorer
from clusterkit.methods.calibration import Calibration, HeldOut, calibrate
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.training.history import History
from clusterkit.training.strategy import Strategy


@dataclass(frozen=True, eq=False)
class Fold:
    """A trained model, its scorer, and the rows of the labelled images on either side.

    Attributes
    ----------
    train, test : (n,) int
        Rows that it was trained on, and that it is tested on.
    embeddings : Embeddings
        Of all labelled images, in float32: learned from and compared with.
    for_assign : Embeddings or None
        Of the same images in the precision of `assign`; None: that is float32 too.
    pool : Embeddings or None
    scorer : Scorer
        Its exemplars are training images.
    history : History
    """

    train: np.ndarray
    test: np.ndarray
    embeddings: Embeddings
    for_assign: Embeddings | None
    pool: Embeddings | None
    scorer: Scorer
    history: History

    def with_classifier(self, networks: Networks) -> "Fold":
        """Return the fold with networks that differ in the classifier alone."""
        labelled = take_rows(self.embeddings, self.train)
        return replace(self, scorer=self.scorer.with_classifier(networks, labelled, self.pool))

    def with_exemplars(self, rows: np.ndarray, data: Labelled, engine: EngineConfig) -> "Fold":
        """Return the fold with the labelled images of `rows` (n,) as exemplars."""
        exemplars, scorer = take_rows(self.embeddings, rows), self.scorer
        scorer = Scorer.of(
            scorer.networks, exemplars, data.labels[rows], len(data.classes), self.pool,
            scorer.reduction, engine,
        )  # fmt: skip
        return replace(self, scorer=scorer)

    def only_measured(self) -> "Fold":
        """Return the fold without its Siamese head, whose factored form the scorer has.

        That head is as large as the features of a thousand images, and each fold has one.
        """
        networks = replace(self.scorer.networks, siamese_head=torch.nn.Sequential())
        scorer = copy(self.scorer)
        scorer.networks = networks
        return replace(self, scorer=scorer)

    def held_out(self, number: int, data: Labelled, appearance: np.ndarray) -> HeldOut:
        """Score the test images against exemplars that the model was trained on.

        Parameters
        ----------
        number : int
            Of the fold.
        data : Labelled
        appearance : (N, 27) float
            Of the labelled images.
        """
        train, test = self.train, self.test
        float32 = take_rows(self.embeddings, test)
        tested, plain = float32, None
        if self.for_assign is not None:
            tested = take_rows(self.for_assign, test)
            plain, _, _ = self.scorer.compare(float32)
        scores, _, _ = self.scorer.compare(tested)
        novelty = NoveltyModel.of(
            self.embeddings.siamese[train], appearance[train], data.labels[train]
        )
        return HeldOut(
            rows=test,
            scores=scores,
            plain=plain,
            novelty=novelty.score(tested.siamese, appearance[test]),
            labels=data.labels[test],
            units=data.units[test],
            folds=np.full(len(test), number),
        )


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The model of all labelled images, the models of the folds, and their calibration.

    Attributes
    ----------
    final : Fold
        With one fold, that fold's.
    folds : list of Fold
        Empty where they have been measured and nobody needs them again.
    calibration : Calibration
    logits : (n, K) float
        Of the held-out images, in the order of the calibration.
    heads : list of Module
        Classifiers of the folds; empty with one fold.
    """

    final: Fold
    folds: list[Fold]
    calibration: Calibration
    logits: np.ndarray
    heads: list[torch.nn.Module]

    @classmethod
    def measured(
        cls,
        final: Fold,
        folds: list[Fold],
        held_out: list[HeldOut],
        heads: list[torch.nn.Module],
        data: Labelled,
        engine: EngineConfig,
    ) -> "CrossFit":
        """Calibrate on what each fold, with its classifier of `heads`, has held out."""
        joined = HeldOut.joined(held_out)
        calibration = calibrate(joined, data.prior, engine.gate_mass, engine.gate_max)
        calibration = replace(calibration, within_groups=data.within_groups)
        return cls(final, folds, calibration, joined.scores.logits, heads)

    @classmethod
    def calibrated(
        cls,
        final: Fold,
        folds: list[Fold],
        data: Labelled,
        appearance: np.ndarray,
        engine: EngineConfig,
    ) -> "CrossFit":
        """Calibrate on the test images of all folds."""
        parts = [fold.held_out(number, data, appearance) for number, fold in enumerate(folds)]
        heads = [fold.scorer.networks.classifier_head for fold in folds]
        return cls.measured(final, folds, parts, heads, data, engine)


def train_fold(
    strategy: Strategy,
    train: np.ndarray,
    test: np.ndarray,
    data: Labelled,
    reduction: Reduction | None,
    history: History,
    config: Config,
) -> Fold:
    """Train one model.

    Parameters
    ----------
    strategy : Strategy
    train, test : (n,) int
        Rows of the labelled images.
    data : Labelled
    reduction : Reduction or None
        None: it is found from this model's own features.
    history : History
        Gets the losses.
    config : Config
    """
    networks = strategy.train(train, test, history)
    embeddings, pool = strategy.embed(networks), strategy.embed_pool(networks)
    for_assign = strategy.embed_for_assign(networks)
    if reduction is None:
        of_pool = None if pool is None else pool.siamese
        encoder = networks.siamese_encoder or networks.encoder
        reduction = fit_reduction(embeddings.siamese, of_pool, encoder.chains, config.seed)
    exemplars, labels = take_rows(embeddings, train), data.labels[train]
    scorer = Scorer.of(
        networks, exemplars, labels, len(data.classes), pool, reduction, config.engine
    )
    return Fold(train, test, embeddings, for_assign, pool, scorer, history)


def fit_reduction(
    labelled: torch.Tensor, pool: torch.Tensor | None, chains: list[list[int]], seed: int
) -> Reduction:
    """Return the principal axes of features (N, D) of labelled images and (M, D) of the pool."""
    return Reduction.of(torch.cat([labelled] if pool is None else [labelled, pool]), chains, seed)


def take_rows(embeddings: Embeddings, rows: np.ndarray) -> Embeddings:
    """Return the features of some rows (n,)."""
    return Embeddings(embeddings.classifier[rows], embeddings.siamese[rows])
