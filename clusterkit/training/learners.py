"""fastai learners for the two models, on images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clusterkit.config import Config
from clusterkit.encoders.encoder import Encoder
from clusterkit.formats.fit_journal import Piece
from clusterkit.models.heads import create_head, pair_features, pool
from clusterkit.progress import StageProgress
from clusterkit.training.callbacks import (
    CountImages,
    HalfPrecision,
    KeepBest,
    Validation,
    half_precision,
    in_full,
    in_half,
)
from clusterkit.training.fastai_names import (
    ChannelsLast,
    DataLoaders,
    LabelSmoothingCrossEntropyFlat,
    Learner,
    fastai_quiet,
    params,
)
from clusterkit.training.gpu_memory import memory_for
from clusterkit.training.head_warmup import warm_up_head
from clusterkit.training.history import History
from clusterkit.training.keep_epochs import KeepEpochs
from clusterkit.training.loaders import TrainingSplit, create_loaders
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.pairs import AllPairsLoss, draw_pairs, join_all
from clusterkit.training.process_group import ProcessGroup, current_group
from clusterkit.training.shared_statistics import gathered, shared_statistics
from clusterkit.training.shared_training import (
    SentEpoch,
    TrainTogether,
    measured_by_leader,
    share_images,
)
from clusterkit.training.stage_journal import StageJournal, at_rest

# Pairs are made of features, so that many per validation image cost nothing.
_PAIRS_PER_IMAGE = 8

# From pooled features (n, 2C) of the validation images to (loss, accuracy).
_Metrics = Callable[[torch.Tensor], tuple[float, float]]


@dataclass(frozen=True)
class _Objective:
    """A loss, and the metrics of validation.

    Attributes
    ----------
    stage : {"classifier", "siamese"}
    loss : nn.Module
        (logits, labels) → scalar.
    metrics : callable or None
        None: there is nothing to validate on.
    """

    stage: str
    loss: nn.Module
    metrics: _Metrics | None


class _FineTuned(nn.Module):
    """Encoder, pooling, and a head over a batch's features (B, 2C), or what `join` makes of them.

    Each image is encoded once. The head computes in float32 whatever the encoder does.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        join: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.join = encoder, head, join

    def features(self, images: torch.Tensor) -> torch.Tensor:
        # fastai's subclass of Tensor would be dispatched at every single operation.
        plain = images.as_subclass(torch.Tensor).contiguous(memory_format=torch.channels_last)
        return pool(self.encoder(plain)).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with shared_statistics():
            features = gathered(self.features(images))
        with in_full(features.device):
            return self.head(features if self.join is None else self.join(features))


def finetune_classifier(
    encoder: Encoder,
    data: TrainingSplit,
    n_classes: int,
    config: Config,
    epochs: int,
    stage: StageJournal,
    progress: StageProgress,
) -> nn.Sequential:
    """Train encoder (in place) and head on images; returns the head.

    Parameters
    ----------
    encoder : Encoder
    data : TrainingSplit
    n_classes : int
    config : Config
    epochs : int
        At most so many: see `KeepBest`.
    stage : StageJournal
        Gets the losses, and keeps what was trained.
    progress : callable
        Called with (images trained on, images in all).

    Returns
    -------
    head : (B, 2C) → (B, K) logits.
    """
    head, train = create_head(2 * encoder.channels, n_classes), config.train
    model = _FineTuned(encoder, head)
    if stage.load_outcome(model, config.device):
        return head
    loss = LabelSmoothingCrossEntropyFlat(eps=train.label_smoothing)
    if data.features is not None:
        features, labels = data.features[:, data.train], data.labels[data.train]
        warm_up_head(head, features, labels, loss, train.lr, train.weight_decay)
    objective = _Objective("classifier", loss, _class_metrics(head, loss, data.labels[data.valid]))
    _fit(model, data, objective, epochs, config, stage, progress)
    return head


def finetune_siamese(
    encoder: Encoder,
    data: TrainingSplit,
    config: Config,
    epochs: int,
    stage: StageJournal,
    progress: StageProgress,
) -> nn.Sequential:
    """Train the Siamese model's own encoder (in place) and head on all pairs of each batch.

    An image is encoded once per batch, where the article encodes two for each pair, and stands in
    up to 62 pairs. The validation pairs are drawn once.

    Parameters
    ----------
    encoder, data, config, epochs, stage, progress
        See `finetune_classifier`.

    Returns
    -------
    head : (B, 4C) pairs as `pair_features` joins them → (B, 1) logits.
    """
    head, train = create_head(4 * encoder.channels, 1), config.train
    if stage.load_outcome(_FineTuned(encoder, head, join_all), config.device):
        return head
    if data.features is not None:
        features, labels = data.features[:, data.train], data.labels[data.train]
        head = fit_pair_head(
            features, labels, encoder.chains, epochs, train.lr, train.weight_decay, config.seed
        )
    metrics = _pair_metrics(head, data.labels[data.valid], config.seed)
    objective = _Objective("siamese", AllPairsLoss(), metrics)
    model = _FineTuned(encoder, head, join_all)
    _fit(model, data, objective, epochs, config, stage, progress)
    return head


def siamese_splitter(model: nn.Module) -> list[list[nn.Parameter]]:
    """Parameter groups of encoder and head, so that their rates can differ."""
    return [params(model.encoder), params(model.head)]


def _class_metrics(head: nn.Module, loss: nn.Module, labels: np.ndarray) -> _Metrics | None:
    if not len(labels):
        return None
    targets = torch.as_tensor(labels)

    def metrics(features: torch.Tensor) -> tuple[float, float]:
        logits, truth = head(features), targets.to(features.device)
        return float(loss(logits, truth)), float((logits.argmax(1) == truth).float().mean())

    return metrics


def _pair_metrics(head: nn.Module, labels: np.ndarray, seed: int) -> _Metrics | None:
    """Return the metrics on pairs of images with `labels`, drawn once."""
    if len(labels) < 2:
        return None
    classes = torch.as_tensor(np.unique(labels, return_inverse=True)[1])
    generator = torch.Generator().manual_seed(seed)
    first, second, same = draw_pairs(classes, _PAIRS_PER_IMAGE * len(classes), generator)

    def metrics(features: torch.Tensor) -> tuple[float, float]:
        logits = head(pair_features(features[first], features[second]))[:, 0]
        truth = same.to(features.device)
        loss = binary_cross_entropy_with_logits(logits, truth.float())
        return float(loss), float(((logits > 0) == truth).float().mean())

    return metrics


def _validation(model: _FineTuned, loaders: DataLoaders, metrics: _Metrics | None) -> Validation:
    """Return the validation of a model in evaluation mode."""

    def validate() -> tuple[float, float] | None:
        if metrics is None:
            return None
        with torch.inference_mode(), in_half(loaders.device):
            own = [model.features(images) for images, _ in loaders.valid]
        group = current_group()
        found = [part.to(loaders.device) for parts in group.gather(own) for part in parts]
        with torch.inference_mode():
            return group.broadcast(metrics(torch.cat(found)) if group.leads else (0.0, 0.0))

    return validate


def _fit(
    model: _FineTuned,
    data: TrainingSplit,
    objective: _Objective,
    epochs: int,
    config: Config,
    stage: StageJournal,
    progress: StageProgress,
) -> None:
    pairs = objective.stage == "siamese"
    loaders = create_loaders(data, config, pairs, model.encoder.expects)
    keep = KeepBest(
        _validation(model, loaders, objective.metrics),
        epochs,
        data.early_stopping,
        partial(stage.history.add, objective.stage),
    )
    epochs_kept = KeepEpochs(stage, keep)
    first = epochs_kept.epochs_done
    share_images(data.images, config.train.cache_mb)
    told = replace(objective, metrics=None if objective.metrics is None else measured_by_leader)
    current_group().tell(
        _follow_fit, model, data.without_pictures(), told, epochs, config, epochs_kept.piece
    )
    learner = Learner(
        loaders,
        model,
        loss_func=objective.loss,
        wd=config.train.weight_decay,
        splitter=siamese_splitter,
        cbs=[
            ChannelsLast(),
            keep,
            epochs_kept,
            CountImages(progress, first),
            TrainTogether(config.seed),
        ],
    )
    if half_precision(loaders.device) is not None:
        learner.add_cb(HalfPrecision(loaders.device))
    model.to(loaders.device)
    rate = config.train.lr
    with learner.no_bar(), learner.no_logging():
        rates = rate if data.features is None else slice(rate / 100, rate)
        with fastai_quiet(), memory_for(loaders.train.bs, data.images.shape[1], loaders.device):
            learner.fit_one_cycle(epochs, rates, start_epoch=first)
    at_rest(model)
    stage.keep_outcome(model, config.device)


def _follow_fit(
    group: ProcessGroup,
    model: _FineTuned,
    data: TrainingSplit,
    objective: _Objective,
    epochs: int,
    config: Config,
    piece: Piece | None,
) -> None:
    """Train with the process that leads, which keeps what comes of it."""
    assert group.images is not None, "they are sent first"
    stage = StageJournal(SentEpoch(piece), "", History())
    _fit(model, replace(data, images=group.images), objective, epochs, config, stage, _unseen)


def _unseen(done: int, total: int, /) -> None:
    pass
