"""fastai learners for the two models, on images."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.schedule import Learner  # importing it adds fit_one_cycle
from fastai.vision.all import DataLoaders, LabelSmoothingCrossEntropyFlat, TfmdDL, params
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clusterkit.config import Config
from clusterkit.encoders.torchvision import Encoder
from clusterkit.models.heads import create_head, pair_features, pool
from clusterkit.progress import StageProgress
from clusterkit.training.callbacks import (
    Count,
    HalfPrecision,
    KeepBest,
    half_precision,
    in_full,
    in_half,
)
from clusterkit.training.head_start import warm_head
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.pairs import AllPairsLoss, draw_pairs, join_all, mixed_batches
from clusterkit.training.transforms import batch_transforms, tensor_image

# Pairs are made of features, so that many for each image watched cost nothing.
_PAIRS_AN_IMAGE = 8


@dataclass
class Data:
    """Training images and what is watched meanwhile, for one learner.

    Attributes
    ----------
    images : (N, S, S, 3) uint8
    labels : (N,) int
    train, watched : (n,) int
        Rows of each part; `watched` may be empty.
    choosing : bool
        Whether the loss on those watched chooses the epoch: see `stopping.keep_back`.
    start : (V, N, D) float Tensor or None
        Features of the pretrained encoder; None: it has random weights.
    """

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    watched: np.ndarray
    choosing: bool = False
    start: torch.Tensor | None = None


@dataclass
class History:
    """One row an epoch, in the order trained; `fold` is written into every row.

    What is called valid are the images kept back to choose the epoch by, where there are any,
    else those that the fold holds out.
    """

    fold: str = ""
    rows: list[dict] = field(default_factory=list)

    def add(
        self,
        stage: str,
        epoch: int,
        train_loss: float,
        valid_loss: float | None = None,
        valid_accuracy: float | None = None,
    ) -> None:
        """Append one epoch of a stage (``"classifier"`` or ``"siamese"``)."""
        self.rows.append(
            {
                "fold": self.fold,
                "stage": stage,
                "epoch": epoch,
                "train_loss": train_loss,
                "valid_loss": valid_loss,
                "valid_accuracy": valid_accuracy,
            }
        )


class _ImageDataset:
    """A dataset of images and their labels; `split_idx` is fastai's: 0 is augmented, 1 is not."""

    def __init__(self, data: Data, rows: np.ndarray, split_idx: int) -> None:
        self.images, self.rows, self.split_idx = data.images, rows, split_idx
        self.labels = torch.as_tensor(data.labels[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple:
        return tensor_image(self.images[self.rows[index]]), self.labels[index]


class _MixedLoader(TfmdDL):
    """Batches dealt by `mixed_batches` anew each epoch."""

    def get_idxs(self) -> list[int]:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        return mixed_batches(self.dataset.labels.numpy(), self.bs, rng).ravel().tolist()


class _Tuned(nn.Module):
    """Encoder, pooling, and a head over what `join` makes of a batch's features (B, 2C).

    Each image is encoded once. The head computes in float32 whatever the encoder does.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, join: Callable) -> None:
        super().__init__()
        self.encoder, self.head, self.join = encoder, head, join

    def features(self, images: torch.Tensor) -> torch.Tensor:
        # fastai's subclass of Tensor would be asked at every single operation.
        plain = images.as_subclass(torch.Tensor).contiguous(memory_format=torch.channels_last)
        return pool(self.encoder(plain)).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        with in_full(features.device):
            return self.head(self.join(features))


def finetune_classifier(
    encoder: Encoder,
    data: Data,
    n_classes: int,
    config: Config,
    epochs: int,
    history: History,
    report: StageProgress,
) -> nn.Sequential:
    """Train encoder (in place) and head on images; returns the head.

    Parameters
    ----------
    encoder : Encoder
    data : Data
    n_classes : int
    config : Config
    epochs : int
        At most so many: see `KeepBest`.
    history : History
        Gets the losses.
    report : callable
        Called with (images trained on, images in all).

    Returns
    -------
    head : (B, 2C) → (B, K) logits.
    """
    head, loss = create_head(2 * encoder.channels, n_classes), _classes_loss(config)
    if data.start is not None:
        features, labels = data.start[:, data.train], data.labels[data.train]
        warm_head(head, features, labels, loss, config.train.lr, config.train.weight_decay)
    labels = torch.as_tensor(data.labels[data.watched])

    def scorer(features: torch.Tensor) -> tuple[float, float]:
        logits, truth = head(features), labels.to(features.device)
        return float(loss(logits, truth)), float((logits.argmax(1) == truth).float().mean())

    model = _Tuned(encoder, head, lambda features: features)
    _fit(model, data, loss, scorer, "classifier", epochs, config, history, report)
    return head.eval()


def finetune_siamese(
    encoder: Encoder,
    data: Data,
    config: Config,
    epochs: int,
    history: History,
    report: StageProgress,
) -> nn.Sequential:
    """Train the Siamese model's own encoder (in place) and head on all pairs of each batch.

    An image is encoded once a batch, where the article encodes two for each pair, and stands in
    up to 62 pairs. What is watched are pairs drawn once.

    Parameters
    ----------
    encoder, data, config, epochs, history, report
        See `finetune_classifier`.

    Returns
    -------
    head : (B, 4C) pairs as `pair_features` joins them → (B, 1) logits.
    """
    train = config.train
    if data.start is None:
        head = create_head(4 * encoder.channels, 1)
    else:
        features, labels = data.start[:, data.train], data.labels[data.train]
        head = fit_pair_head(features, labels, epochs, train.lr, train.weight_decay, config.seed)
    scorer = _pair_judge(head, data.labels[data.watched], config.seed)
    model = _Tuned(encoder, head, join_all)
    _fit(model, data, AllPairsLoss(), scorer, "siamese", epochs, config, history, report)
    return head.eval()


def siamese_splitter(model: nn.Module) -> list:
    """Parameter groups of encoder and head, so that their rates can differ."""
    return [params(model.encoder), params(model.head)]


def _classes_loss(config: Config) -> nn.Module:
    return LabelSmoothingCrossEntropyFlat(eps=config.train.label_smoothing)


def _pair_judge(head: nn.Module, labels: np.ndarray, seed: int) -> Callable | None:
    """Return what measures a head on pairs of images with `labels` that stay the same."""
    if len(labels) < 2:
        return None
    classes = torch.as_tensor(np.unique(labels, return_inverse=True)[1])
    generator = torch.Generator().manual_seed(seed)
    first, second, same = draw_pairs(classes, _PAIRS_AN_IMAGE * len(classes), generator)

    def scorer(features: torch.Tensor) -> tuple[float, float]:
        logits = head(pair_features(features[first], features[second]))[:, 0]
        truth = same.to(features.device)
        loss = binary_cross_entropy_with_logits(logits, truth.float())
        return float(loss), float(((logits > 0) == truth).float().mean())

    return scorer


def _loaders(data: Data, config: Config, pairs: bool) -> DataLoaders:
    # At least two whole batches, and none of one image: BatchNorm cannot learn from it.
    # Pairs of both kinds take three.
    least = min(3 if pairs else 2, len(data.train))
    size = max(least, min(config.train.batch_size, len(data.train) // 2))
    common = {
        "num_workers": 0,
        "device": torch.device(config.device),
        "after_batch": batch_transforms(config.augment, data.images.shape[1]),
    }
    make = _MixedLoader if pairs else TfmdDL
    return DataLoaders(
        make(
            _ImageDataset(data, data.train, 0), bs=size, shuffle=not pairs, drop_last=True, **common
        ),
        TfmdDL(_ImageDataset(data, data.watched, 1), bs=config.train.batch_size, **common),
    )


def _watcher(model: _Tuned, loaders: DataLoaders, scorer: Callable | None) -> Callable:
    """Return what measures the model, in evaluation mode, on the images watched."""

    def watch() -> tuple[float, float] | None:
        if scorer is None or not len(loaders.valid.dataset):
            return None
        with torch.inference_mode(), in_half(loaders.device):
            found = torch.cat([model.features(images) for images, _ in loaders.valid])
        with torch.inference_mode():
            return scorer(found)

    return watch


def _fit(
    model: _Tuned,
    data: Data,
    loss: nn.Module,
    scorer: Callable | None,
    stage: str,
    epochs: int,
    config: Config,
    history: History,
    report: StageProgress,
) -> None:
    loaders = _loaders(data, config, pairs=stage == "siamese")
    keep = KeepBest(
        _watcher(model, loaders, scorer),
        epochs,
        data.choosing,
        lambda *row: history.add(stage, *row),
    )
    learner = Learner(
        loaders,
        model,
        loss_func=loss,
        wd=config.train.weight_decay,
        splitter=siamese_splitter,
        cbs=[ChannelsLast(), keep, Count(report)],
    )
    if half_precision(loaders.device) is not None:
        learner.add_cb(HalfPrecision(loaders.device))
    model.to(loaders.device)
    rate = config.train.lr
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, rate if data.start is None else slice(rate / 100, rate))
    model.to("cpu", memory_format=torch.contiguous_format).eval()
