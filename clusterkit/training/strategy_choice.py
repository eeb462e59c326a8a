"""Choosing between fine-tuning and frozen features, and between precisions."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from clusterkit.config import Config
from clusterkit.encoders.backbone import Backbone
from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.errors import ConfigError
from clusterkit.methods.calibration import clearly_likelier
from clusterkit.models.forward import FLOAT32, quick_precision
from clusterkit.progress import Progress
from clusterkit.threads import one_thread
from clusterkit.training.crossfit import Learned, cross_fit, held_out_folds
from clusterkit.training.frozen import FrozenFeatures, allowed_views
from clusterkit.training.strategy import Strategy, TrainingSet

log = logging.getLogger("clusterkit")

# Fewer labelled images than this are too few to fine-tune a pretrained encoder safely.
_FINETUNE_IMAGES = 500

# More labelled images than this make steps long enough to be worth several threads.
_FEW = 2000


@dataclass(frozen=True, eq=False)
class Training:
    """The outcome of the strategy that was chosen.

    Attributes
    ----------
    strategy : {"head", "finetune"}
    reason : str
        Why it was chosen.
    learned : Learned
    folds : (N,) int
        The fold each labelled image was held out in; -1: never.
    """

    strategy: str
    reason: str
    learned: Learned
    folds: np.ndarray

    @property
    def n_folds(self) -> int:
        """Number of models that were measured."""
        return int(self.folds.max()) + 1

    @property
    def split(self) -> np.ndarray:
        """(N,) str: ``valid`` where the model that is kept did not learn from the image."""
        held_out = (self.folds >= 0) & (self.n_folds == 1)
        return np.where(held_out, "valid", "train")


def train_best(training_set: TrainingSet, config: Config, progress: Progress) -> Training:
    """Train by the strategy that fits the data, or that held-out images are likelier with.

    Parameters
    ----------
    training_set : TrainingSet
    config : Config
        With a device that is there.
    progress : callable
        Called with (stage, done, total).
    """
    data, backbone = training_set.labelled, training_set.backbone
    strategy, reason = choose_strategy(config, backbone, len(data.labels))
    log.info("strategy %s: %s", strategy, reason)
    learned, folds = _fit_in_precision(strategy, training_set, config, progress)
    if strategy == "finetune" and backbone.pretrained:
        frozen, frozen_folds = _fit_in_precision("head", training_set, config, progress)
        if not clearly_likelier(learned.calibration, frozen.calibration):
            learned, folds, strategy = frozen, frozen_folds, "head"
            reason = "fine-tuning was tried, and held-out images were not clearly likelier with it"
            log.warning("%s: heads on frozen features are used", reason)
    return Training(strategy, reason, learned, folds)


def choose_strategy(config: Config, backbone: Backbone, n: int) -> tuple[str, str]:
    """Return the strategy for `n` labelled images, and why."""
    if isinstance(backbone.encoder, GivenFeatures):
        if config.train.strategy == "finetune":
            raise ConfigError("train.strategy = 'finetune' needs an encoder to train, and features "
                              "are given; leave out one of the two")  # fmt: skip
        return "head", "features are given: heads are fitted on them"
    if config.train.strategy != "auto":
        return config.train.strategy, "asked for in the config"
    if not backbone.pretrained:
        return "finetune", "random weights have to be trained"
    if config.device == "cpu":
        return "head", "pretrained weights and no GPU: heads on cached features take seconds"
    if n < _FINETUNE_IMAGES:
        return "head", f"{n} labelled images are too few to fine-tune a pretrained encoder safely"
    return "finetune", f"{n} labelled images and a GPU"


def _fit_in_precision(
    name: str, training_set: TrainingSet, config: Config, progress: Progress
) -> tuple[Learned, np.ndarray]:
    """Cross-fit in the configured precision; ``auto`` is the quick one if it changes no label."""
    if training_set.given is not None:
        return _fit(name, FLOAT32, training_set, config, progress)
    if config.model.precision != "auto":
        return _fit(name, config.model.precision, training_set, config, progress)
    quick = quick_precision(config.device)
    learned, folds = _fit(name, quick, training_set, config, progress)
    if learned.calibration.precision.agrees:
        return learned, folds
    log.info("too much hangs on the rounding of %s: float32 is used", quick)
    return _fit(name, FLOAT32, training_set, config, progress)


def _fit(
    name: str, precision: str, training_set: TrainingSet, config: Config, progress: Progress
) -> tuple[Learned, np.ndarray]:
    data = training_set.labelled
    folds, _ = held_out_folds(data, config, name)
    # On few images each step takes milliseconds, which threads would spend waiting for each other.
    alone = name == "head" and len(data.labels) < _FEW
    with one_thread() if alone else nullcontext():
        strategy = _strategy(name, precision, training_set, folds, config, progress)
        return cross_fit(data, data.appearance, strategy, folds, config, progress), folds


def _strategy(
    name: str,
    precision: str,
    training_set: TrainingSet,
    folds: np.ndarray,
    config: Config,
    progress: Progress,
) -> Strategy:
    data, given = training_set.labelled, training_set.given
    if given is not None:
        views = given.views(allowed_views(config))
        return FrozenFeatures.given(data, views, given.pool, folds, config, training_set.backbone,
                                    training_set.journal)  # fmt: skip
    if name == "head":
        return FrozenFeatures.encoded(training_set, folds, config, precision, progress)
    # It imports fastai, which takes seconds.
    from clusterkit.training.finetune import FineTuning

    return FineTuning(training_set, config, precision, progress)
