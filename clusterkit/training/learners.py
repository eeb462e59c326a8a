"""fastai learners for the two models, on images."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from fastai.callback.schedule import Learner  # importing it adds fit_one_cycle
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    DataLoaders,
    LabelSmoothingCrossEntropyFlat,
    accuracy,
    params,
)
from torch import nn

from clusterkit.config import Config
from clusterkit.models.backbones import Encoder
from clusterkit.models.heads import Classifier, SiameseModel, create_head
from clusterkit.training.pairs import PairDataset
from clusterkit.training.transforms import batch_transforms, tensor_image


@dataclass
class Data:
    """Training images and what is held out, for one learner.

    Attributes
    ----------
    images : (N, S, S, 3) uint8
    labels : (N,) int
    train, valid : (n,) int
        Rows of each part; `valid` may be empty.
    """

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    valid: np.ndarray


@dataclass
class History:
    """One row an epoch, in the order trained; `fold` is written into every row."""

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


class _Rows:
    """A dataset over rows of (get(row), target)."""

    def __init__(self, get: Callable, targets: np.ndarray) -> None:
        self.get, self.targets = get, torch.as_tensor(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple:
        return self.get(index), self.targets[index]


def finetune_classifier(
    encoder: Encoder,
    data: Data,
    n_classes: int,
    config: Config,
    epochs: int,
    pretrained: bool,
    history: History,
) -> nn.Sequential:
    """Train encoder (in place) and head on images (N, S, S, 3); returns the head."""
    head = create_head(2 * encoder.channels, n_classes)
    loaders = _image_loaders(data, config, pairs=False)
    _fit(
        Classifier(encoder, head),
        loaders,
        _classes_loss(config),
        epochs,
        config,
        history,
        "classifier",
        pretrained,
    )
    return head.eval()


def finetune_siamese(
    encoder: Encoder,
    data: Data,
    config: Config,
    epochs: int,
    pretrained: bool,
    history: History,
) -> nn.Sequential:
    """Train the Siamese model's own encoder (in place) and head on pairs of images."""
    head = create_head(4 * encoder.channels, 1)
    loaders = _image_loaders(data, config, pairs=True)
    _fit(
        SiameseModel(encoder, head),
        loaders,
        BCEWithLogitsLossFlat(),
        epochs,
        config,
        history,
        "siamese",
        pretrained,
    )
    return head.eval()


def siamese_splitter(model: nn.Module) -> list:
    """Parameter groups of encoder and head, so that their rates can differ."""
    return [params(model.encoder), params(model.head)]


def _classes_loss(config: Config) -> nn.Module:
    return LabelSmoothingCrossEntropyFlat(eps=config.train.label_smoothing)


def _binary_accuracy(logits: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    return ((logits > 0) == (same > 0.5)).float().mean()


def _image_loaders(data: Data, config: Config, pairs: bool) -> DataLoaders:
    datasets = []
    for rows, fixed in ((data.train, False), (data.valid, True)):
        get, labels = _getter(data.images, rows), data.labels[rows]
        datasets.append(
            PairDataset(get, labels, config.seed, fixed) if pairs else _Rows(get, labels)
        )
    # At least two whole batches, and none of one image: BatchNorm cannot learn from it.
    batch_size = max(2, min(config.train.batch_size, len(data.train) // 2))
    return DataLoaders.from_dsets(
        *datasets,
        bs=batch_size,
        num_workers=0,
        device="cpu",
        after_batch=batch_transforms(config.augment, data.images.shape[1]),
    )


def _getter(images: np.ndarray, rows: np.ndarray) -> Callable[[int], torch.Tensor]:
    return lambda index: tensor_image(images[rows[index]])


def _fit(
    model: nn.Module,
    loaders: DataLoaders,
    loss: nn.Module,
    epochs: int,
    config: Config,
    history: History,
    stage: str,
    pretrained: bool,
) -> None:
    device = torch.device(config.device)
    loaders.to(device)
    metric = _binary_accuracy if stage == "siamese" else accuracy
    learner = Learner(
        loaders,
        model,
        loss_func=loss,
        metrics=metric,
        wd=config.train.weight_decay,
        splitter=siamese_splitter,
    )
    if device.type == "cuda":
        learner.to_fp16()
    rate = config.train.lr
    with learner.no_bar(), learner.no_logging():
        if pretrained:
            learner.freeze()
            learner.fit_one_cycle(1, rate)
            _record(learner, history, stage)
            learner.unfreeze()
            rate = slice(rate / 100, rate)
        learner.fit_one_cycle(epochs, rate)
    _record(learner, history, stage)
    model.to("cpu").eval()


def _record(learner: Learner, history: History, stage: str) -> None:
    for epoch, values in enumerate(learner.recorder.values):
        # Without a validation part fastai records the training loss alone.
        history.add(stage, epoch, *(*values, None, None)[:3])
