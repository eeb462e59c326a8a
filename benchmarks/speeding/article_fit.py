"""The article's two Learners, as its code has them: fastai's defaults, one step after another.

Only the training loops are timed: validation, which the article runs after every epoch, and
building the Learners are left out.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.vision.all import (
    AdaptiveConcatPool2d,
    BCEWithLogitsLossFlat,
    Callback,
    CancelValidException,
    CategoryBlock,
    ColReader,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    IntToFloatTensor,
    Learner,
    Normalize,
    PILImage,
    Resize,
    TfmdLists,
    ToTensor,
    Transform,
    accuracy,
    aug_transforms,
    create_body,
    create_head,
    fastuple,
    imagenet_stats,
    params,
    set_seed,
    squeezenet1_0,
    vision_learner,
)
from torch import nn

# fastai's own, where a data set has so many images; two batches an epoch where it has fewer.
_BATCH = 64
_SIZE = 224
_LR = 3e-3


@dataclass(frozen=True)
class Epochs:
    """Seconds of training until the end of each epoch, and accuracies then, (E,) each."""

    seconds: np.ndarray
    accuracy: np.ndarray


class _Clock(Callback):
    """Times training without validation."""

    def __init__(self, validate: bool) -> None:
        self.validate, self.spent = validate, []

    def before_train(self) -> None:
        self.began = time.perf_counter()

    def after_train(self) -> None:
        self.spent.append(time.perf_counter() - self.began)

    def before_validate(self) -> None:
        if not self.validate:
            raise CancelValidException


def train_classifier(train: pd.DataFrame, held_out: pd.DataFrame, weights: Path,
                     epochs: int) -> Epochs:  # fmt: skip
    """Train the article's classifier on rows (path, label); accuracies are on other rows.

    Its body starts from `weights` and is frozen, as `cnn_learner` freezes what is pretrained.
    """
    set_seed(0, reproducible=True)
    both = pd.concat([train, held_out])
    loaders = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=IndexSplitter(range(len(train), len(both))),
        item_tfms=Resize(_SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats, cuda=False)],
    ).dataloaders(both, bs=_batch_size(train), device="cpu")
    learner = vision_learner(loaders, squeezenet1_0, pretrained=False, metrics=accuracy)
    learner.model[0].load_state_dict(_body(weights).state_dict())
    learner.freeze()
    clock = _Clock(validate=True)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, _LR, cbs=clock)
    found = [values[-1] for values in learner.recorder.values]
    return Epochs(np.cumsum(clock.spent), np.array(found))


class _SiameseImage(fastuple):
    pass


class _SiameseTransform(Transform):
    """Opens a file and a partner, of its class with probability 0.5."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.label = dict(zip(rows["path"], rows["label"], strict=True))
        self.of = {label: part["path"].tolist() for label, part in rows.groupby("label")}
        self.rng = np.random.default_rng(0)

    def encodes(self, file: str) -> _SiameseImage:
        label, same = self.label[file], self.rng.random() < 0.5
        if not same:
            label = self.rng.choice([other for other in self.of if other != label])
        partner = self.rng.choice(self.of[label])
        return _SiameseImage(PILImage.create(file), PILImage.create(partner), int(same))


class _SiameseModel(nn.Module):
    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.encoder(first), self.encoder(second)], dim=1))


def siamese_seconds(train: pd.DataFrame, weights: Path, epochs: int) -> float:
    """Return seconds that the article's Siamese model trains on rows (path, label)."""
    set_seed(0, reproducible=True)
    files = train["path"].tolist()
    # fastai wants something to validate on; the clock leaves it alone.
    splits = [list(range(len(files))), [0, 1]]
    loaders = TfmdLists(files, _SiameseTransform(train), splits=splits).dataloaders(
        bs=_batch_size(train),
        after_item=[Resize(_SIZE), ToTensor],
        after_batch=[IntToFloatTensor, Normalize.from_stats(*imagenet_stats, cuda=False)],
        device="cpu",
    )
    head = create_head(512 * 2, 1, ps=0.5)
    assert isinstance(head[0], AdaptiveConcatPool2d)
    learner = Learner(
        loaders,
        _SiameseModel(_body(weights), head),
        loss_func=lambda logits, same: BCEWithLogitsLossFlat()(logits, same.float()),
        splitter=lambda model: [params(model.encoder), params(model.head)],
    )
    clock = _Clock(validate=False)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, _LR, cbs=clock)
    return sum(clock.spent)


def _batch_size(train: pd.DataFrame) -> int:
    return min(_BATCH, len(train) // 2)


def _body(weights: Path) -> nn.Module:
    model = squeezenet1_0(weights=None)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model.load_state_dict(state, strict=False)
    return create_body(model, pretrained=False, cut=-1)
